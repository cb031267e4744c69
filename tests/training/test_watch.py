"""The spread of a representation, and the alarm: silent in a healthy run, heard in one that really collapses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lstcl_platform.frameworks.simsiam import SimSiam
from lstcl_platform.specs.frameworks import BYOLSpec, FrameworkSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.training import pretrain as module
from lstcl_platform.training.pretrain import pretrain
from lstcl_platform.training.watch import CollapseWatch, effective_rank
from tests.training.stages import FRAMES, SIDE, HostBatch, Recorder, stage_context, trial

BATCH, EPOCHS, STEPS_PER_EPOCH = 16, 2, 40


@pytest.mark.parametrize("directions", [1, 3, 6])
def test_effective_rank_counts_directions_of_equal_weight(directions):
    axes = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))[0][:directions]
    rows = torch.cat([axes, -axes]) + 5
    assert effective_rank(rows) == pytest.approx(directions, rel=1e-4)
    assert effective_rank(rows.T.contiguous().T[:, :20] * 7 - 3) == pytest.approx(directions, rel=1e-4)


def test_effective_rank_of_equal_rows_and_of_more_rows_than_columns():
    assert effective_rank(torch.ones(8, 5)) == 1.0
    assert effective_rank(torch.cat([torch.eye(3), -torch.eye(3)]).repeat(4, 1)) == pytest.approx(3)


def test_a_diverged_representation_has_no_rank():
    assert np.isnan(effective_rank(torch.full((8, 5), torch.nan)))


def watched(tmp_path, feature, embedding):
    reporter = Recorder()
    watch = CollapseWatch(stage_context(tmp_path, reporter))
    return watch.figures(7, {"feature": feature, "embedding": embedding}), reporter.warnings


def test_figures_and_warning_of_a_collapse(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(64, 32, generator=generator)
    figures, warnings = watched(tmp_path, spread, spread)
    assert figures["feature_std"] == pytest.approx(1, abs=0.03)
    assert figures["effective_rank"] > 25
    assert (figures["collapsed"], warnings) == (0, [])

    narrow = 5 + 0.05 * spread
    figures, warnings = watched(tmp_path, spread, narrow)
    assert figures["embedding_std"] < 0.02 < figures["feature_std"]
    assert figures["collapsed"] == 1
    (text,) = warnings
    assert "at step 7: embedding_std 0.0" in text
    assert "(below 0.1)" in text

    line = torch.linspace(-1, 1, 64)[:, None] * torch.ones(32) + 0.001 * spread
    figures, warnings = watched(tmp_path, line, spread)
    assert figures["feature_std"] > 0.1
    assert figures["effective_rank"] < 2
    assert figures["collapsed"] == 1
    assert "effective_rank" in warnings[0]
    assert watched(tmp_path, line[::20], spread[::20])[0]["collapsed"] == 0, "too few videos to tell"


def test_the_warning_comes_once_a_collapse(tmp_path: Path):
    reporter = Recorder()
    watch = CollapseWatch(stage_context(tmp_path, reporter))
    good, bad = torch.eye(16), torch.ones(16, 16)
    for step, rows in enumerate([good, bad, bad, good, bad]):
        watch.figures(step, {"feature": rows, "embedding": good})
    assert [text.split(":")[0][-1] for text in reporter.warnings] == ["1", "4"]


def noise(shared: float) -> Iterator[HostBatch]:
    """Pairs of clips that share a pattern, or, at `shared` 0, nothing."""
    for step in range(EPOCHS * STEPS_PER_EPOCH):
        rng = np.random.default_rng([1, step])
        pattern = rng.normal(size=(BATCH, 1, 1, SIDE, SIDE, 3))
        own = rng.normal(size=(BATCH, 2, FRAMES, SIDE, SIDE, 3))
        clips = np.clip(115 + 40 * (shared * pattern + (1 - shared) * own), 0, 255).astype(np.uint8)
        augment = np.tile(np.array([1, 1, 1, 0, 0, 0, 0], np.float32), (BATCH, 2, 1))
        bad = np.full(BATCH, "", dtype=object)
        yield {"short": clips[:, 0], "long": clips[:, 1], "augment": augment, "bad": bad}


def run(tmp_path: Path, framework: FrameworkSpec, batches: Iterator[HostBatch]) -> Recorder:
    fields = {"framework": framework, "batch_size": BATCH, "drop_path": 0.0, "epochs": EPOCHS, "lr_base": 0.1}
    reporter = Recorder()
    context = stage_context(tmp_path / "a1", reporter, steps_per_epoch=STEPS_PER_EPOCH, log_every_steps=5)
    pretrain(trial(pretraining=fields), context, batches)
    return reporter


SIZES = {"projector_hidden": 64, "predictor_hidden": 32, "output_dim": 32}


def test_a_run_that_collapses_sets_off_the_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SimSiam without its predictor: its stopped gradient is then half of the full one, and all videos meet."""

    def without_predictor(spec, backbone):
        framework = SimSiam(spec, backbone)
        framework.predictor = nn.Identity()
        return framework

    monkeypatch.setattr(module, "build_framework", without_predictor)
    reporter = run(tmp_path, SimSiamSpec(**SIZES, heads="byol"), noise(shared=0.0))
    collapsed = [row["collapsed"] for row in reporter.rows]
    assert (collapsed[0], collapsed[-1]) == (0, 1)
    assert len(reporter.warnings) == 1
    assert f"at step {5 * (1 + collapsed.index(1))}: embedding_std" in reporter.warnings[0]
    assert reporter.rows[-1]["retrieval_top1"] < 0.3


@pytest.mark.parametrize(
    "framework",
    [MoCoV3Spec(**SIZES), BYOLSpec(**SIZES), SimSiamSpec(**SIZES), SimSiamSpec(**SIZES, heads="byol")],
    ids=["moco_v3", "byol", "simsiam", "simsiam_byol_heads"],
)
def test_a_healthy_run_does_not(tmp_path: Path, framework: FrameworkSpec):
    reporter = run(tmp_path, framework, noise(shared=0.8))
    assert {row["collapsed"] for row in reporter.rows} == {0}
    assert reporter.warnings == []
    assert reporter.rows[-1]["retrieval_top1"] > 0.3
