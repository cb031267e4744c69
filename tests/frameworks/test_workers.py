"""Two real gloo processes equal one process with the joined batch, in float64."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fixtures import arrays
from tests.frameworks.two_workers import WORKERS, everything

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    answers = [folder / f"rank{rank}.pt" for rank in range(WORKERS)]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.frameworks.two_workers",
                str(rank),
                str(folder / "meet"),
                str(answer),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, answer in enumerate(answers)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(answer, weights_only=True) for answer in answers]


@pytest.fixture(scope="module")
def one():
    return everything(0, 1)


def test_loss_of_each_rank_equals_the_reference(two):
    expected = arrays("moco_v3_loss")
    for rank, answer in enumerate(two):
        found = answer["reference_loss"]
        assert found["losses"] == pytest.approx(expected[f"two_ranks/loss_rank{rank}"].tolist(), rel=1e-9)
        gradients = torch.from_numpy(expected[f"two_ranks/grad_q_rank{rank}"])
        torch.testing.assert_close(found["gradients"], gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("part", "tolerance"), [("batch_norm", 1e-10), ("batch_norm_float32", 2e-4)])
def test_batch_norm_sees_the_joined_batch(two, one, part, tolerance):
    expected = one[part]
    for name in ("out", "input_grad", "evaluated"):
        joined = torch.cat([answer[part][name] for answer in two])
        torch.testing.assert_close(joined, expected[name], rtol=tolerance, atol=tolerance)
    for answer in two:
        found = answer[part]
        torch.testing.assert_close(
            found["parameter_grads"], expected["parameter_grads"], rtol=tolerance, atol=tolerance
        )
        for name, value in expected["buffers"].items():
            torch.testing.assert_close(found["buffers"][name], value, rtol=tolerance, atol=tolerance)


def test_two_workers_train_as_one(two, one):
    expected = one["training"]
    losses = torch.tensor([answer["training"]["losses"] for answer in two], dtype=torch.float64).mean(0)
    assert losses.tolist() == pytest.approx(expected["losses"], rel=1e-9)
    for answer in two:
        for found, wanted in zip(answer["training"]["gradients"], expected["gradients"], strict=True):
            assert found.keys() == wanted.keys()
            # Some gradients are zero but for rounding: a BatchNorm cancels the bias of the last LayerNorm.
            largest = max(value.norm() for value in wanted.values())
            for name, value in wanted.items():
                error = (found[name] - value).norm() / max(value.norm(), 1e-4 * largest)
                assert error < 1e-9, f"{name}: {error}"
    for name, value in expected["state"].items():
        torch.testing.assert_close(two[0]["training"]["state"][name], value, rtol=1e-7, atol=1e-9, msg=name)
        assert torch.equal(two[0]["training"]["state"][name], two[1]["training"]["state"][name]), name
