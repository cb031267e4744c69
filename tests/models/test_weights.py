"""Weights out and in: exact, or refused with names."""

import pytest
import torch
from torch import nn

from lstcl_platform.models import build_backbone, load_weights, save_weights
from lstcl_platform.specs.errors import UserError


def micro(seed):
    torch.manual_seed(seed)
    return build_backbone("st_swin_micro", frames=2, image_size=16)


def test_round_trip_is_exact(tmp_path):
    first, second = micro(0), micro(1)
    save_weights(first, tmp_path / "w.safetensors")
    load_weights(second, tmp_path / "w.safetensors")
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_mismatch_names_every_tensor_and_changes_nothing(tmp_path):
    source = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    source.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    target = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 6), nn.Linear(6, 2, bias=False))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    save_weights(source, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as caught:
        load_weights(target, tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "w.safetensors: weights do not fit Sequential" in message
    assert "1 missing in the file: 2.weight" in message
    assert "1 not part of the model: extra" in message
    assert "2 of another shape: 1.bias (file [5], model [6]), 1.weight (file [5, 4], model [6, 4])" in message
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_missing_and_damaged_files_are_the_users_to_fix(tmp_path):
    with pytest.raises(UserError, match="no such weights file"):
        load_weights(micro(0), tmp_path / "absent.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    save_weights(micro(0), damaged)
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_weights(micro(0), damaged)
