"""Features of every video of a dataset, through Ray Data: decode tasks, then actors that hold the model."""

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lstcl_platform.orchestration.cluster import Capacity, connected
from lstcl_platform.orchestration.ingest import MAX_DECODE_RETRIES
from lstcl_platform.specs.trained import TrainedSpec
from lstcl_platform.storage.places import Place
from lstcl_platform.video.manifest import Manifest
from lstcl_platform.video.process import set_up_decoding

if TYPE_CHECKING:
    from ray import ObjectRef

_CLIPS_A_TASK = 48
"""Decoded at a time: enough that a task's overhead does not show, few enough to spread over the cores."""
_MAX_VIDEOS_A_TASK = 16

Progress = Callable[[int, int], None]
Cells = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Features of a dataset.

    Attributes:
        table: a row a video in the manifest's order: path, label, label_name, features (list of D float32, null where
            the video could not be read) and problem (null where it could).
        root: folder that the paths are relative to.
    """

    table: pa.Table
    root: Place

    @property
    def width(self) -> int:
        """Numbers of a feature; 0 where no video could be read."""
        return max((len(row) for row in self.table["features"] if row.is_valid), default=0)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(path, problem) of every video without features."""
        pairs = zip(self.table["path"].to_pylist(), self.table["problem"].to_pylist(), strict=True)
        return [(path, problem) for path, problem in pairs if problem is not None]


def embed_videos(
    weights: Path,
    manifest: Manifest,
    *,
    spec: TrainedSpec,
    address: str | None,
    progress: Progress | None = None,
) -> Embedded:
    """Run a trained backbone over all usable videos of a manifest; the feature of a video is the mean over its clips.

    A feature does not depend on the number of tasks, actors or nodes, and rows keep the manifest's order.

    Args:
        weights: local safetensors file.
        manifest: of videos that all nodes see under the same path.
        spec: what the weights are, and the views to cut.
        address: Ray cluster (`auto` or HOST:PORT); None starts a local one.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: no cluster answers.
    """
    rows = manifest.usable
    found: NDArray[np.float32] | None = None
    bad = {int(row): "" for row in rows}
    with connected(address) as capacity:
        done = 0
        for batch in _features(weights, manifest, spec=spec, capacity=capacity):
            positions = batch["position"]
            if found is None:
                found = np.zeros((len(rows), batch["features"].shape[1]), dtype=np.float32)
            found[positions] = batch["features"]
            bad |= {int(rows[place]): str(text) for place, text in zip(positions, batch["bad"], strict=True)}
            done += len(positions)
            if progress is not None:
                progress(done, len(rows))
    if done != len(rows):
        raise RuntimeError(f"{len(rows)} videos were to be embedded, but {done} came")
    return Embedded(table=_table(manifest, found, bad), root=manifest.root)


def write_features(embedded: Embedded, target: Path, *, spec: TrainedSpec) -> None:
    """Write features as Parquet, whole or not at all; the file's metadata say which model and folder they are of."""
    notes = {"lstcl_platform.trained": spec.model_dump_json(), "lstcl_platform.root": str(embedded.root)}
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        pq.write_table(embedded.table.replace_schema_metadata(notes), partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _features(weights: Path, manifest: Manifest, *, spec: TrainedSpec, capacity: Capacity) -> Any:
    """Batches with position, features and bad, in order of position."""
    import ray
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    videos = len(manifest.usable)
    a_task = min(max(1, _CLIPS_A_TASK // spec.views), _MAX_VIDEOS_A_TASK)
    starts = list(range(0, videos, a_task))
    # A model and a decode task share one CPU where there is no second.
    share = 1.0 if capacity.max_cpus >= 2 else 0.5
    gpus = 1 if capacity.max_gpus >= 1 else 0
    models = max(1, int(capacity.max_gpus) if gpus else int(capacity.max_cpus) // 2)
    dataset = ray.data.from_items(
        [{"first": first, "end": min(first + a_task, videos)} for first in starts],
        override_num_blocks=max(1, len(starts)),
    )
    dataset.context.execution_options.preserve_order = True
    with warnings.catch_warnings():
        # No named parameter takes the place of max_retries yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        decoded = dataset.map_batches(
            _Decode(_manifest_bytes(manifest), spec),
            batch_size=1,
            num_cpus=share,
            max_retries=MAX_DECODE_RETRIES,
        )
    features = decoded.map_batches(
        _Featurize,
        batch_size=a_task,
        concurrency=(1, models),
        num_cpus=share if not gpus else 0,
        num_gpus=gpus,
        fn_constructor_args=(ray.put(weights.read_bytes()), spec.model_dump_json()),
    )
    return features.iter_batches(batch_size=None, batch_format="numpy")


class _Decode:
    """Decode task: a range of positions -> the test clips of its videos, a row each.

    It carries the manifest, so that no folder has to be shared but that of the videos.
    """

    def __init__(self, manifest: bytes, spec: TrainedSpec) -> None:
        self._manifest = manifest
        self._spec = spec

    def __call__(self, batch: Cells) -> Cells:
        from lstcl_platform.training.apply import samples_as_tested

        set_up_decoding()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "videos.parquet"
            file.write_bytes(self._manifest)
            samples = samples_as_tested(self._spec, file)
            found = samples(np.arange(int(batch["first"][0]), int(batch["end"][0])))
        return {name: found[name] for name in ("position", "clips", "bad")}


class _Featurize:
    """Actor that holds the model: clips -> features."""

    def __init__(self, weights: "ObjectRef[bytes]", spec: str) -> None:
        import ray
        import torch

        from lstcl_platform.models.trained import load_trained
        from lstcl_platform.training.apply import default_device, featurizer

        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "weights.safetensors"
            file.write_bytes(ray.get(weights))
            trained = load_trained(file, spec=TrainedSpec.model_validate_json(spec))
        self._features = featurizer(trained, default_device())

    def __call__(self, batch: Cells) -> Cells:
        import torch

        features = self._features(torch.from_numpy(np.ascontiguousarray(batch["clips"])))
        return {"position": batch["position"], "features": features, "bad": batch["bad"]}


def _manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as a file that finds its videos from wherever it lies."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "videos.parquet"
        manifest.save(file)
        return file.read_bytes()


def _table(manifest: Manifest, found: NDArray[np.float32] | None, bad: dict[int, str]) -> pa.Table:
    place = {int(row): position for position, row in enumerate(manifest.usable)}
    problems = [bad.get(row) or problem for row, problem in enumerate(manifest.table["problem"].to_pylist())]
    features = [
        None if problem or found is None else found[place[row]] for row, problem in enumerate(problems)
    ]
    # Not lists of a fixed size: pyarrow writes those with a null to Parquet, and cannot read them back.
    return pa.table(
        {
            "path": manifest.table["path"],
            "label": manifest.table["label"],
            "label_name": manifest.table["label_name"],
            "features": pa.array(features, pa.list_(pa.float32())),
            "problem": pa.array(problems, pa.string()),
        }
    )
