"""What methods that see no motion score on a study's data: set beside its results, computed once for a dataset."""

import json
from collections.abc import Iterable, Mapping

from lstcl_platform.orchestration.prepare import IndexedData
from lstcl_platform.orchestration.progress import View
from lstcl_platform.specs.stages import Trial
from lstcl_platform.storage import write_bytes
from lstcl_platform.storage.places import Place
from lstcl_platform.video.baselines import baselines

MAX_VIDEOS = 2000
"""Larger sets are left out: reading every video again would take longer than anyone waits for a baseline."""


def launch_baselines(
    trials: Iterable[Trial], data: Mapping[str, IndexedData], *, storage: Place, view: View
) -> dict[str, float]:
    """Top-1 of the baselines as metrics `baseline_<name>`; empty for sets larger than MAX_VIDEOS together.

    Args:
        trials: of one experiment. Where they differ in their data, as the folds of a cross-validation do, each pair
            of training and test videos counts once, with the weight of its test videos.
        data: indexed data by resolved path.
        storage: folder of the study; results are kept in `baselines/` below it.
        view: told that videos are being read.
    """
    splits = dict.fromkeys((trial.spec.data.train, trial.spec.data.val) for trial in trials)
    weights = {split: len(data[split[1]].manifest.usable) for split in splits}
    if sum(len(data[train].manifest) + len(data[val].manifest) for train, val in splits) > MAX_VIDEOS:
        return {}
    found: dict[str, float] = {}
    for (train, val), weight in weights.items():
        for name, share in _of_split(data[train], data[val], storage=storage, view=view).items():
            metric = f"baseline_{name}"
            found[metric] = found.get(metric, 0.0) + share * weight / sum(weights.values())
    return found


def _of_split(train: IndexedData, val: IndexedData, *, storage: Place, view: View) -> dict[str, float]:
    kept = storage / "baselines" / f"{train.manifest.digest[:20]}-{val.manifest.digest[:20]}.json"
    if not kept.exists():
        view.message(f"baselines without motion on {len(train.manifest)} + {len(val.manifest)} videos")
        write_bytes(str(kept), json.dumps(baselines(train.manifest, val.manifest)).encode())
    found: dict[str, float] = json.loads(kept.read_text())
    return found
