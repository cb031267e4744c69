"""2 - 2 cos against the public codes' values and the paper's Eq. 6."""

import pytest
import torch

from lstcl_platform.frameworks.byol import regression_loss
from lstcl_platform.frameworks.pairs import unit_rows
from tests.fixtures import arrays

ORACLE = {name: torch.from_numpy(value).double() for name, value in arrays("byol_simsiam_losses").items()}


def loss_of(queries, keys):
    return regression_loss(unit_rows(queries), unit_rows(keys))


def test_loss_and_gradient_equal_the_references():
    queries = ORACLE["p1"].clone().requires_grad_()
    loss = loss_of(queries, ORACLE["z2"])
    loss.backward()
    assert loss.item() == pytest.approx(2 + 2 * ORACLE["neg_cos_mean_p1_z2"].item(), rel=1e-9)
    torch.testing.assert_close(queries.grad, 2 * ORACLE["grad_p1"], rtol=1e-8, atol=1e-12)


def test_sum_over_videos_is_equation_6():
    assert loss_of(ORACLE["p1"], ORACLE["z2"]).item() == pytest.approx(
        ORACLE["paper_eq6_mean"].item(), rel=1e-9
    )
    assert 7 * loss_of(ORACLE["p1"], ORACLE["z2"]).item() == pytest.approx(
        ORACLE["paper_eq6_sum"].item(), rel=1e-9
    )


def test_both_directions_equal_byol_and_four_times_simsiam():
    both = (loss_of(ORACLE["p1"], ORACLE["z2"]) + loss_of(ORACLE["p2"], ORACLE["z1"])).item()
    assert both == pytest.approx(ORACLE["byol_symmetric_mean"].item(), rel=1e-9)
    assert both == pytest.approx(4 + 4 * ORACLE["simsiam_symmetric"].item(), rel=1e-9)
