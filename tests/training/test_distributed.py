"""Two gloo processes compute what one computes, stop together and resume exactly."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lstcl_platform.frameworks import Framework, build_framework
from lstcl_platform.models import Classifier, build_backbone, save_weights
from lstcl_platform.specs.frameworks import MoCoV3Spec
from lstcl_platform.training.distributed import distribute, without_sync
from lstcl_platform.training.evaluate import evaluate
from tests.training.stages import (
    CLASSES,
    FRAMES,
    SIDE,
    TOTAL,
    Recorder,
    StageUnderTest,
    rank_slots,
    stage_context,
    trial,
)

WORLD = 2
PARTS = 2
VIDEOS = 7


def two_part_trial():
    """With everything on that draws: drop path, dropout, mixing."""
    return trial(pretraining={"lr_base": 0.02, "accumulation_steps": PARTS, "contrast_batch": 4})


def training_figures(folder: Path, *, rank: int, world_size: int) -> dict[str, Any]:
    """Both training stages, uninterrupted and resumed."""
    figures: dict[str, Any] = {}
    for stage in (StageUnderTest("pretrain"), StageUnderTest("finetune")):
        ranks = {"rank": rank, "world_size": world_size}
        reporter = Recorder()
        spec = two_part_trial()
        whole = stage.run(stage_context(folder / stage.name / "whole" / "a1", reporter, **ranks), spec=spec)
        attempts = folder / stage.name / "resumed"
        # Rows of several steps and a stop inside an interval: what other ranks measured must survive too.
        interrupted = {"log_every_steps": 5, **ranks}
        first = stage.run(stage_context(attempts / "a1", Recorder(stop_after=3), **interrupted), spec=spec)
        resumed = Recorder()
        second = stage.run(
            stage_context(attempts / "a2", resumed, resume_from=first.checkpoint, **interrupted),
            spec=spec,
            start=3,
        )
        figures[stage.name] = {
            "rows": reporter.rows,
            "whole": asdict(whole),
            "first": asdict(first),
            "second": asdict(second),
            "resumed_rows": resumed.rows,
        }
    return figures


def evaluation_figures(folder: Path, *, rank: int, world_size: int) -> dict[str, Any]:
    """Seven videos; with two ranks the last batch of one is padding only."""
    clips = np.random.default_rng(0).integers(0, 256, (8, 2, FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    video = np.arange(8)
    video[VIDEOS:] = -1
    columns = {
        "clips": clips,
        "label": np.arange(8) % CLASSES,
        "video": video,
        "path": np.array([f"{n}.mp4" for n in range(8)], dtype=object),
        "bad": np.full(8, "", dtype=object),
        "clips_padded": np.arange(8) % 3,
    }
    blocks = np.arange(8).reshape(-1, world_size)[:, rank]
    batches = ({name: column[row : row + 1] for name, column in columns.items()} for row in blocks)
    context = stage_context(
        folder / "evaluate" / "a1",
        Recorder(),
        rank=rank,
        world_size=world_size,
        steps_per_epoch=len(blocks),
        parent_weights=str(folder.parent / "classifier.safetensors"),
    )
    return asdict(evaluate(trial(), context, batches, num_classes=CLASSES, videos=VIDEOS))


def framework_in_float64() -> Framework:
    torch.manual_seed(0)
    backbone = build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE)
    spec = MoCoV3Spec(projector_hidden=16, predictor_hidden=16, output_dim=8)
    return build_framework(spec, backbone).double()


def accumulated_gradients(folder: Path, *, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """Gradients of one step of two micro-batches in float64, as the loop accumulates them."""
    framework = framework_in_float64()
    context = stage_context(folder, Recorder(), rank=rank, world_size=world_size)
    model = distribute(framework, context)
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(2, 12, 3, FRAMES, SIDE, SIDE, generator=generator, dtype=torch.float64)
    slots = torch.from_numpy(rank_slots(12, rank=rank, world_size=world_size, parts=PARTS))
    for part, (short, long) in enumerate(zip(*clips[:, slots].chunk(PARTS, dim=1), strict=True)):
        framework.momentum = 0.9 if part == 0 else 1.0
        with without_sync(model, when=part < PARTS - 1):
            (model(short, long) / PARTS).backward()
        if part == 0:
            early = {
                f"early {n}": p.grad.clone() for n, p in framework.named_parameters() if p.grad is not None
            }
    return early | {n: p.grad for n, p in framework.named_parameters() if p.grad is not None}


def work(rank: int, folder: str, world_size: int) -> None:
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
        )
    path = Path(folder)
    figures = {
        **training_figures(path, rank=rank, world_size=world_size),
        "evaluate": evaluation_figures(path, rank=rank, world_size=world_size),
    }
    (path / f"figures{rank}.json").write_text(json.dumps(figures))
    torch.save(accumulated_gradients(path, rank=rank, world_size=world_size), path / f"gradients{rank}.pt")
    if world_size > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Figures of one process in `one`, of two in `two`."""
    root = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(3)
    backbone = build_backbone("st_swin_micro", frames=FRAMES, image_size=SIDE)
    save_weights(Classifier(backbone, CLASSES), root / "classifier.safetensors")
    for name in ("one", "two"):
        (root / name).mkdir()
    threads = torch.get_num_threads()
    work(0, str(root / "one"), 1)
    torch.set_num_threads(threads)
    mp.spawn(work, args=(str(root / "two"), WORLD), nprocs=WORLD)
    return root


def figures(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / name / f"figures{rank}.json").read_text())
    return loaded


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_two_processes_train_as_one(folder: Path, stage: str):
    one, two = (figures(folder, name)[stage]["rows"] for name in ("one", "two"))
    assert len(one) == len(two) == TOTAL
    for own, both in zip(one, two, strict=True):
        assert both["loss"] == pytest.approx(own["loss"], rel=1e-3)
    watched = ("retrieval_top1", "feature_std", "effective_rank", "embedding_std", "embedding_rank")
    for name in ("loss", "grad_norm", *(watched if stage == "pretrain" else ("train_top1",))):
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-5)


def test_gradients_agree_to_float64_rounding(folder: Path):
    one, two, other = (
        torch.load(folder / run / f"gradients{rank}.pt") for run, rank in (("one", 0), ("two", 0), ("two", 1))
    )
    assert one.keys() == two.keys() == other.keys()
    largest = max(gradient.abs().max() for gradient in one.values())
    for name, gradient in one.items():
        if name.startswith("early"):
            continue
        torch.testing.assert_close(two[name], gradient, rtol=1e-9, atol=float(largest) * 1e-12)
        assert torch.equal(two[name], other[name])
        assert not torch.equal(
            two[f"early {name}"], other[f"early {name}"]
        )  # nothing was sent before the end


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_two_processes_resume_exactly(folder: Path, stage: str):
    figure = figures(folder, "two")[stage]
    assert (figure["first"]["status"], figure["first"]["steps"]) == ("stopped", 3)
    assert figure["second"]["state_digest"] == figure["whole"]["state_digest"]
    assert figure["second"]["weights_digest"] == figure["whole"]["weights_digest"]
    losses = [row["loss"] for row in figure["rows"]]
    assert figure["resumed_rows"][0]["loss"] == pytest.approx(sum(losses[:5]) / 5, rel=1e-12)


def test_all_ranks_hold_the_same_result(folder: Path):
    first, second = (figures(folder, "two", rank) for rank in range(WORLD))
    for stage in ("pretrain", "finetune"):
        for run in ("whole", "first", "second"):
            assert first[stage][run] == second[stage][run]
    assert first["evaluate"] == second["evaluate"]


def test_two_processes_evaluate_as_one(folder: Path):
    one, two = (figures(folder, name)["evaluate"] for name in ("one", "two"))
    assert one["metrics"] == two["metrics"]
    assert one["metrics"]["videos"] == VIDEOS
    tables = [pq.read_table(result["predictions"]) for result in (one, two)]
    assert tables[0].column("video").to_pylist() == tables[1].column("video").to_pylist()
    scores = [np.array(table.column("probabilities").to_pylist()) for table in tables]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
