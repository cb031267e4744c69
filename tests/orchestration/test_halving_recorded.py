"""What a launch with successive halving leaves in tracking, and what people are shown of it."""

import io
import json
from types import SimpleNamespace

import torch
from rich.console import Console

from lstcl_platform import storage
from lstcl_platform.orchestration.board import Event
from lstcl_platform.orchestration.driver import starting_point
from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.job import StageJob
from lstcl_platform.orchestration.recorder import Recorder
from lstcl_platform.orchestration.turns import Turns
from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.progress import experiment_view
from lstcl_platform.results.report.page import chapter_of
from lstcl_platform.results.report.study import read_study
from lstcl_platform.results.tables import comparison_csv, comparison_records, comparison_table
from lstcl_platform.specs import build_graph, expand, parse_experiment
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.tracking.cleaning import clean
from lstcl_platform.tracking.patience import Patience
from lstcl_platform.training.checkpoints import save_checkpoint
from lstcl_platform.training.leases import Leases
from tests.tracking.conftest import make_stage

RATES = {"lr_base=0.1": 0.25, "lr_base=0.2": 0.75, "lr_base=0.3": 0.5}
"""Cell -> its accuracy at every rung."""


class Launch:
    """A launch of three cells without pretraining, ranked once; its stages end as they are told."""

    def __init__(self, tracker, folder, *, name="halved"):
        values = {
            "name": name,
            "data": {"train": "train", "val": "val"},
            "pretrain": None,
            "finetune": {"epochs": 9},
            "sweep": {
                "grid": {"finetune.lr_base": [0.1, 0.2, 0.3]},
                "halving": {"after_epochs": [3], "keep": 0.4},
            },
        }
        spec = parse_experiment(values, origin="test", folder=folder)
        trials = expand(spec).trials
        self.name, self.tracker, self.messages = name, tracker, []
        self.graph = build_graph(trials, manifests={spec.data.train: name, spec.data.val: "b"})
        self.train = folder / "train"
        finished = tracker.finished(self.graph.stages)
        halving = Halving(self.graph, trials, folder=str(folder / "halving"))
        halving.settle(finished)
        self.leases = Leases()
        self.run = tracker.begin_launch(spec, requested=values, trials=trials, graph=self.graph)
        folders = {key: str(self.train / key) for key in self.graph.stages}
        self.recorder = Recorder(
            tracker,
            self.graph,
            halving=halving,
            launches={name: self.run},
            finished=finished,
            dataset_of=lambda stage: {"name": "v", "digest": "d", "source": "/d", "context": "training"},
            turns=Turns(self.leases, stage_dirs=folders, patience=Patience(60)),
            view=SimpleNamespace(message=self.messages.append),
        )

    def stages(self, cell):
        """Rung and its test, the whole finetuning and its test."""
        return [self.graph.stages[key] for key in self.graph.chains[f"{self.name}/{cell}"]]

    def end(self, stage, *, failed=False, **metrics):
        assert self.recorder.take_turn(stage.key) == "ours"
        told = {"start_step": 0, "total": 3, "attempt_dir": str(self.train / stage.key / "a1")}
        self.recorder.handle([Event(kind="attempt", stage=stage.key, attempt=1, data=told)])
        if failed:
            return self.recorder.complete(stage.key, {"status": "failed", "error": "no disk", "log": "log"})
        nothing = ("weights", "weights_digest", "predictions", "state_digest", "bad_videos_table")
        result = {"steps": 3, "metrics": metrics, "fingerprint": {}, "dataset_digest": "d", "bad_videos": 0}
        result |= dict.fromkeys(nothing) | {"checkpoint": None}
        if stage.kind == "finetune":
            save_checkpoint(str(self.train / stage.key / "a1"), 3, {"w": torch.zeros(8)})
        return self.recorder.complete(stage.key, {"status": "finished", "result": result})

    def rank(self):
        for cell, top1 in RATES.items():
            rung, test, _, _ = self.stages(cell)
            self.end(rung, loss=1.0)
            self.end(test, top1=top1, top5=1.0)

    def statuses(self):
        return {trial.name: trial.status for trial in self.tracker.trial_results(self.name)}

    def close(self):
        self.recorder.close(interrupted=False)
        self.leases.close()


def shown(view):
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(view)
    return console.file.getvalue()


def test_who_was_stopped_is_recorded_shown_and_replayed(tracker, tmp_path):
    first = Launch(tracker, tmp_path)
    first.rank()
    told = "halved: after epoch 3, 1 of 3 cells go on by val_top1: lr_base=0.2 (0.75); stopped: lr_base=0.3 (0.5)"
    assert [text for text in first.messages if text.startswith(told)]
    stopped = {"lr_base=0.1": "stopped", "lr_base=0.3": "stopped"}
    assert {name: status for name, status in first.statuses().items() if status == "stopped"} == stopped
    assert first.recorder.progress.count("dropped") == 4
    assert json.loads(tracker._read_text(first.run.run_id, "halving.json"))[0]["standings"][1]["rank"] == 1

    # The checkpoint from which the best cell goes on stays; those of the stopped ones may go.
    first.leases.close()
    cells = {first.stages(cell)[0].key: cell for cell in RATES}
    assert {cells[item.key] for item in clean(tracker, str(first.train)).superfluous} == set(stopped)

    second = Launch(tracker, tmp_path)
    assert second.recorder.progress.count("dropped") == 4
    assert second.recorder.progress.count("cached") == 6
    _, _, whole, test = second.stages("lr_base=0.2")
    second.end(whole, loss=0.5)
    assert second.statuses()["lr_base=0.2"] not in ("finished", "stopped")
    second.end(test, top1=0.625, top5=1.0)
    assert second.statuses() == stopped | {"lr_base=0.2": "finished"}
    assert second.recorder.progress.count("failed", "skipped") == 0
    second.close()
    assert {cells.get(item.key) for item in clean(tracker, str(first.train)).superfluous} >= set(RATES)

    trials = tracker.trial_results("halved")
    comparison = compare_trials(trials)
    line = "lr_base=0.1: stopped after epoch 3: val_top1 0.25, rank 3 of 3; going on took rank 1 (0.75)"
    text = shown(comparison_table(comparison, width=160))
    assert line in text
    assert "1 stopped" in text
    assert "Successive halving chose cells by val_top1, on the videos that results are measured on" in text
    assert "0.625" in text
    assert comparison_csv(comparison).splitlines()[0].endswith(",halving")
    assert [cell["halving"]["rank"] for cell in comparison_records(comparison)] == [3, 1, 2]
    status = shown(experiment_view(tracker.launch_state("halved"), trials, metric="top1", resume="again"))
    assert line in status
    assert "1 of 3 trials done, 2 stopped by successive halving" in status
    assert status.count("rung 1: done") == 4

    chapter = chapter_of(tracker, read_study(tracker, "halved"))
    (section,) = (section for section in chapter.sections if section.anchor == "halving")
    assert "data.val" in section.warning
    rows = [[cell.text for cell in row] for row in section.tables[0].rows]
    assert rows[0] == ["lr_base=0.1", "3", "25.0", "3 of 3", "1", "stopped"]
    (ran,) = (section for section in chapter.sections if section.anchor == "ran")
    assert len(ran.tables[0].rows) == 8


def test_a_failed_rung_ends_the_trials_that_wait_for_its_ranking(tracker, tmp_path):
    launch = Launch(tracker, tmp_path, name="held")
    (bad, _, _, _), (good, test, _, _) = launch.stages("lr_base=0.1"), launch.stages("lr_base=0.2")
    launch.end(good, loss=1.0)
    launch.end(test, top1=0.5, top5=1.0)
    launch.end(bad, failed=True)
    assert set(launch.statuses().values()) == {"failed"}
    # The failed rung's test, and of each cell the finetuning to the end and its test; not the rung that is left.
    states = launch.recorder.progress.stages.values()
    assert launch.recorder.progress.count("skipped") == 1 + 2 * 3
    assert {state.error for state in states if state.status == "skipped"} == {
        f"needs finetune {bad.key[:10]} (lr_base=0.1, epoch 3), which failed"
    }
    launch.close()
    assert not (tmp_path / "halving").exists()


def test_a_cell_goes_on_from_its_rung_unless_it_has_come_further_or_the_rung_is_gone(tmp_path):
    state, damage = {"w": torch.zeros(8)}, []
    rung = save_checkpoint(str(tmp_path / "rung" / "a1"), 6, state)
    verdict = "bad_videos/00000003-abcd-e1.json"
    storage.write_bytes(str(tmp_path / "rung" / verdict), b"{}")
    job = StageJob(
        stage=make_stage("s", kind="finetune"),
        train_manifest="",
        val_manifest="",
        stage_dir=str(tmp_path / "whole"),
        placement=None,
        checkpoint=CheckpointSpec(),
        log_every_steps=1,
        board=None,
        rung_checkpoint=rung.uri,
    )
    assert starting_point(job, on_damage=damage.append) == rung
    assert (tmp_path / "whole" / verdict).read_bytes() == b"{}"
    further = save_checkpoint(str(tmp_path / "whole" / "a1"), 7, state)
    assert starting_point(job, on_damage=damage.append) == further
    storage.delete_tree(further.uri)
    (tmp_path / "rung" / "a1" / "step-00000006" / "state.pt").write_bytes(b"torn")
    assert starting_point(job, on_damage=damage.append) is None
    assert rung.uri in damage[0]
    storage.delete_tree(rung.uri)
    assert starting_point(job, on_damage=damage.append) is None
    assert len(damage) == 1
