"""What a launch needs of its data before anything runs: videos there, manifests written, splits that agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstcl_platform.orchestration.progress import View
from lstcl_platform.specs.batches import check_batches
from lstcl_platform.specs.clip_span import check_clip_span
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.stages import Trial
from lstcl_platform.specs.wording import numbered
from lstcl_platform.storage.places import Place
from lstcl_platform.video.few_labels import labelled_subset
from lstcl_platform.video.indexing import open_manifest
from lstcl_platform.video.manifest import Manifest, check_same_classes, check_usable
from lstcl_platform.video.synthetic import is_complete, synthesize


@dataclass(frozen=True, kw_only=True)
class IndexedData:
    """A dataset path of a spec, indexed.

    Attributes:
        source: the path as resolved from the spec.
        manifest: its manifest.
        snapshot: file that holds exactly this manifest, named by its digest; what stages read.
    """

    source: str
    manifest: Manifest
    snapshot: Place


def prepare_data(trials: Iterable[Trial], *, storage: Place, view: View) -> dict[str, IndexedData]:
    """Render what is missing and may be rendered, index everything, and check it against each trial.

    Args:
        trials: the cells of the launch.
        storage: folder of the study; manifests go to `manifests/` below it.
        view: told what is done and what is wrong with the data.

    Returns:
        Resolved path of all `data` that the trials read -> indexed data.

    Raises:
        UserError: data is missing, unreadable, has too many bad videos, or does not suit a trial.
    """
    found: dict[str, IndexedData] = {}
    for trial in trials:
        data = trial.spec.data
        _render_if_missing(data, view=view)
        for source in trial.spec.sources():
            if source not in found:
                found[source] = _index(source, folder=storage / "manifests", view=view)
            check_usable(found[source].manifest, max_bad_fraction=data.max_bad_fraction)
        check_same_classes(found[data.train].manifest, found[data.val].manifest)
        _check_batches(trial.spec, found)
        for source in trial.spec.sources():
            videos = found[source].manifest
            rows = videos.table.take(videos.usable)
            check_clip_span(
                trial.spec,
                source=source,
                median_seconds=float(np.median(rows["duration"].to_numpy())),
                median_frames=float(np.median(rows["frames"].to_numpy())),
            )
    return found


def _check_batches(spec: TrialSpec, found: Mapping[str, IndexedData]) -> None:
    pretraining = None if spec.pretrain is None else len(found[spec.data.pretraining].manifest.usable)
    labelled = None
    if "finetuned" in spec.evaluate.protocols:
        train, few = found[spec.data.train].manifest, spec.finetune.labels_per_class
        labelled = len(labelled_subset(train, labels_per_class=few, seed=spec.finetune.seed))
    check_batches(spec, pretraining=pretraining, labelled=labelled)


def _render_if_missing(data: DataSpec, *, view: View) -> None:
    if data.synthesize is None:
        return
    remote = next((path for path in (data.train, data.val) if "://" in path), None)
    if remote is not None:
        raise UserError(f"data.synthesize renders into folders, but {remote} is a URI")
    train, val = Path(data.train), Path(data.val)
    spec = data.synthesize
    if not (is_complete(train) and is_complete(val)):
        view.message(
            f"rendering {spec.train_videos} + {spec.val_videos} synthetic videos into {train.parent}"
        )

    def tell(done: int, total: int) -> None:
        if done % max(1, total // 4) == 0 and done < total:
            view.message(f"rendered {done} of {total} videos")

    # Called on a finished set too: it returns at once, and refuses one that was rendered from other settings.
    synthesize(spec, train=train, val=val, progress=tell)


def _index(source: str, *, folder: Place, view: View) -> IndexedData:
    manifest = open_manifest(source, cache_dir=folder)
    snapshot = folder / f"{manifest.digest}.parquet"
    if not snapshot.exists():
        manifest.save(snapshot)
    bad = manifest.problems
    view.message(
        f"{source}: {numbered(len(manifest), 'video')}, "
        f"{numbered(len(manifest.classes), 'class', 'classes')}, {manifest.hours:.2f} h"
        + ("" if manifest.published is None else f", of {manifest.published} published")
        + (f"; {len(bad)} unusable:" if bad else "")
    )
    for path, problem in bad:
        view.message(f"bad video left out: {path}: {problem}")
    return IndexedData(source=source, manifest=manifest, snapshot=snapshot)
