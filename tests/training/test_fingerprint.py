"""The numerics fingerprint: complete, JSON-ready, and compared by name."""

import json
from pathlib import Path

import torch

from lstcl_platform.training.fingerprint import fingerprint_changes, numerics_fingerprint
from tests.training.stages import Recorder, stage_context


def test_it_says_how_numbers_are_computed(tmp_path: Path):
    found = numerics_fingerprint(stage_context(tmp_path, Recorder(), world_size=4), micro_batch=8)
    assert (found["world_size"], found["micro_batch"], found["device"]) == (4, 8, "cpu")
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert all(found[name] for name in ("av", "kornia", "numpy", "timm", "torchvision", "device_name"))
    assert json.loads(json.dumps(found)) == found


def test_changes_are_named():
    before = {"threads": 1, "device": "cpu", "torch": "2.14.1"}
    assert fingerprint_changes(before, dict(before)) == []
    now = {"threads": 2, "device": "cpu", "torch": "2.14.1", "cudnn": 9}
    assert fingerprint_changes(before, now) == ["cudnn: None -> 9", "threads: 1 -> 2"]
