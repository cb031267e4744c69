"""What methods that see no motion score on a study's data: set beside its results, computed once for a dataset."""

import json
from collections.abc import Mapping
from pathlib import Path

from lstcl_platform.orchestration.prepare import IndexedData
from lstcl_platform.orchestration.progress import View
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.training.storage import write_bytes
from lstcl_platform.video.baselines import baselines

MAX_VIDEOS = 2000
"""Larger sets are left out: reading every video again would take longer than anyone waits for a baseline."""


def launch_baselines(
    spec: ExperimentSpec, data: Mapping[str, IndexedData], *, storage: Path, view: View
) -> dict[str, float]:
    """Top-1 of the baselines as metrics `baseline_<name>`; empty for a set larger than MAX_VIDEOS.

    Args:
        spec: the experiment; its common `data` is what the baselines are computed on.
        data: indexed data by resolved path.
        storage: folder of the study; results are kept in `baselines/` below it.
        view: told that videos are being read.
    """
    if spec.data.train not in data or spec.data.val not in data:  # swept, and the common value is not used
        return {}
    train, val = data[spec.data.train].manifest, data[spec.data.val].manifest
    if len(train) + len(val) > MAX_VIDEOS:
        return {}
    kept = storage / "baselines" / f"{train.digest[:20]}-{val.digest[:20]}.json"
    if not kept.exists():
        view.message(f"baselines without motion on {len(train)} + {len(val)} videos")
        write_bytes(str(kept), json.dumps(baselines(train, val)).encode())
    found: dict[str, float] = json.loads(kept.read_text())
    return {f"baseline_{name}": share for name, share in found.items()}
