"""The contrastive loss of the public MoCo v3 code and of the paper's Eq. 4."""

import pytest
import torch

from lstcl_platform.frameworks.moco_v3 import contrastive_loss
from lstcl_platform.frameworks.pairs import unit_rows
from tests.fixtures import arrays
from tests.frameworks.small import small, views

LOSSES = {name: torch.from_numpy(value).double() for name, value in arrays("moco_v3_loss").items()}


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize(("name", "rows"), [("one_process_12", 12), ("one_process_first6", 6)])
def test_loss_and_gradient_equal_the_reference(name, rows, row):
    temperature = LOSSES["temperatures"][row].item()
    queries = LOSSES["queries"][:rows].clone().requires_grad_()
    keys = unit_rows(LOSSES["keys"][:rows])
    loss = contrastive_loss(unit_rows(queries), keys, temperature=temperature) * 2 * temperature
    loss.backward()
    assert loss.item() == pytest.approx(LOSSES[f"{name}/loss"][row].item(), rel=1e-9)
    torch.testing.assert_close(queries.grad, LOSSES[f"{name}/grad_q"][row], rtol=1e-9, atol=1e-12)


def test_sum_over_videos_is_equation_4():
    for temperature, expected in zip(LOSSES["temperatures"], LOSSES["eq4_sum_one_process_12"], strict=True):
        queries, keys = unit_rows(LOSSES["queries"]), unit_rows(LOSSES["keys"])
        loss = contrastive_loss(queries, keys, temperature=temperature.item())
        assert 12 * loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_without_a_loss_scale_the_loss_is_times_twice_the_temperature():
    default, mean = small(temperature=0.1), small(temperature=0.1, loss_scale=1.0)
    assert default(*views()).item() == pytest.approx(0.2 * mean(*views()).item(), rel=1e-12)
