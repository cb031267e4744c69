"""Layers that drop draw for samples, not for workers."""

import pytest
import timm.layers
import torch
from torch import nn

from lstcl_platform.models import Classifier, build_backbone
from lstcl_platform.models.stochastic import BatchShare, Dropout, DropPath, SampleDrop, share_batch


def drawn(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(7)
    return layer(x)


@pytest.mark.parametrize("layer", [DropPath(0.4), Dropout(0.4)], ids=["path", "values"])
@pytest.mark.parametrize("views", [1, 2])
def test_ranks_together_draw_what_one_rank_draws(layer, views: int):
    """Three ranks of two samples, of each the rows of 5 windows; with two views as [short, long] of each rank."""
    x = torch.rand(views, 3, 2 * 5, 4)
    share_batch(layer, BatchShare(views=views))
    whole = drawn(layer, x.flatten(0, 2)).view_as(x)
    for rank in range(3):
        share_batch(layer, BatchShare(rank=rank, world_size=3, views=views))
        own = drawn(layer, x[:, rank].flatten(0, 1)).view_as(x[:, rank])
        assert torch.equal(own, whole[:, rank])
    assert not torch.equal(whole[:, 0] == 0, whole[:, 1] == 0)


def test_drop_path_is_timms():
    share_batch(layer := DropPath(0.3), BatchShare())
    x = torch.rand(50, 3, 4)
    assert torch.equal(drawn(layer, x), drawn(timm.layers.DropPath(0.3), x))


def test_dropout_drops_values_and_keeps_the_mean():
    y = drawn(Dropout(0.25), torch.ones(400, 100))
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    assert 0 < (y == 0).float().mean(1).min() < (y == 0).float().mean(1).max() < 1


@pytest.mark.parametrize("layer", [DropPath(0.9).eval(), DropPath(0.0), Dropout(0.9).eval(), Dropout(0.0)])
def test_nothing_is_dropped_in_a_test_or_at_rate_0(layer):
    x = torch.rand(8, 3)
    assert torch.equal(layer(x), x)


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\), not 1"):
        DropPath(1.0)


@pytest.mark.parametrize("name", ["st_swin_micro", "swin_micro", "timesformer_micro"])
def test_no_layer_of_a_classifier_draws_for_its_rank(name: str):
    model = Classifier(build_backbone(name, frames=2, image_size=16, drop_path=0.5), 3, dropout=0.5)
    share_batch(model, BatchShare(rank=1, world_size=2))
    drops = [module for module in model.modules() if isinstance(module, SampleDrop) and module.rate]
    assert len(drops) >= 2
    assert {drop.share.rank for drop in drops} == {1}
    foreign = (timm.layers.DropPath, nn.Dropout)
    assert not [m for m in model.modules() if isinstance(m, foreign) and getattr(m, "p", 0.0)]
