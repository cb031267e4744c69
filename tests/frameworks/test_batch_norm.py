"""BatchNorm in one process: torch's own, under its own names."""

import torch
from torch import nn

from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.frameworks.workers import gather, rank_and_count


def test_state_dict_fits_batch_norm_both_ways():
    ours, theirs = BatchNorm(5), nn.BatchNorm1d(5)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = torch.randn(12, 5) * 3 + 1
    assert torch.equal(ours(x), theirs(x))
    fresh = BatchNorm(5)
    fresh.load_state_dict(theirs.state_dict())
    assert torch.equal(fresh.eval()(x), theirs.eval()(x))


def test_torch_can_convert_it_for_gpus():
    ours = nn.Sequential(nn.Linear(3, 5), BatchNorm(5, affine=False))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(ours)
    assert type(converted[1]) is nn.SyncBatchNorm
    assert converted.state_dict().keys() == ours.state_dict().keys()


def test_one_process_is_one_worker():
    assert rank_and_count() == (0, 1)
    x = torch.randn(3, 2, requires_grad=True)
    assert torch.equal(gather(x), x.detach()[None])
    assert not gather(x).requires_grad
