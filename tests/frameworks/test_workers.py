"""Two and three real gloo processes equal one process with the joined batch, in float64."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fixtures import arrays
from tests.frameworks.several_workers import PARTS, everything
from tests.frameworks.small import SPECS

ROOT = Path(__file__).parents[2]
MODULE = "tests.frameworks.several_workers"


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def several(request, tmp_path_factory):
    workers = request.param
    folder = tmp_path_factory.mktemp("gloo")
    answers = [folder / f"rank{rank}.pt" for rank in range(workers)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", MODULE, str(rank), str(workers), str(folder / "meet"), str(answer)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, answer in enumerate(answers)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(answer, weights_only=True) for answer in answers]


@pytest.fixture(scope="module")
def one():
    return everything(0, 1)


def test_loss_of_each_rank_equals_the_reference(several):
    if len(several) != 2:
        return  # the reference was run with one and with two ranks
    expected = arrays("moco_v3_loss")
    for rank, answer in enumerate(several):
        found = answer["reference_loss"]
        assert found["losses"] == pytest.approx(expected[f"two_ranks/loss_rank{rank}"].tolist(), rel=1e-9)
        gradients = torch.from_numpy(expected[f"two_ranks/grad_q_rank{rank}"])
        torch.testing.assert_close(found["gradients"], gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("part", "tolerance"), [("batch_norm", 1e-10), ("batch_norm_float32", 2e-4)])
def test_batch_norm_sees_the_joined_batch(several, one, part, tolerance):
    expected = one[part]
    for name in ("out", "input_grad", "evaluated"):
        joined = torch.cat([answer[part][name] for answer in several])
        torch.testing.assert_close(joined, expected[name], rtol=tolerance, atol=tolerance)
    for answer in several:
        found = answer[part]
        torch.testing.assert_close(
            found["parameter_grads"], expected["parameter_grads"], rtol=tolerance, atol=tolerance
        )
        for name, value in expected["buffers"].items():
            torch.testing.assert_close(found["buffers"][name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("parts", [1, PARTS])
@pytest.mark.parametrize("name", SPECS)
def test_workers_train_as_one(several, one, name, parts):
    expected = one[name, parts]
    answers = [answer[name, parts] for answer in several]
    for figure in ("losses", "retrieved"):
        mean = torch.tensor([answer[figure] for answer in answers], dtype=torch.float64).mean(0)
        assert mean.tolist() == pytest.approx(expected[figure], rel=1e-9)
    for answer in answers:
        for found, wanted in zip(answer["gradients"], expected["gradients"], strict=True):
            assert found.keys() == wanted.keys()
            # Some gradients are zero but for rounding: a BatchNorm cancels the bias of the last LayerNorm.
            largest = max(value.norm() for value in wanted.values())
            for key, value in wanted.items():
                error = (found[key] - value).norm() / max(value.norm(), 1e-4 * largest)
                assert error < 1e-9, f"{key}: {error}"
    for key, value in expected["state"].items():
        torch.testing.assert_close(answers[0]["state"][key], value, rtol=1e-7, atol=1e-9, msg=key)
        assert all(torch.equal(answers[0]["state"][key], answer["state"][key]) for answer in answers), key
