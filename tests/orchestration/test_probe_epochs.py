"""Pretrainings that are probed on their way: what runs when, what is refused, and what people are shown."""

import io
import json
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from lstcl_platform.orchestration.board import Event
from lstcl_platform.orchestration.driver import starting_point
from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.job import StageJob
from lstcl_platform.orchestration.order import StageOrder
from lstcl_platform.orchestration.preflight import DecodeShare, Placement
from lstcl_platform.orchestration.probe_epochs import check_probe_epochs
from lstcl_platform.orchestration.recorder import Recorder
from lstcl_platform.orchestration.turns import Turns
from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.progress import experiment_view
from lstcl_platform.results.report.page import chapter_of
from lstcl_platform.results.report.study import read_study
from lstcl_platform.results.tables import comparison_records, comparison_table
from lstcl_platform.specs import UserError, build_graph, expand, parse_experiment
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.tracking.cleaning import clean
from lstcl_platform.tracking.patience import Patience
from lstcl_platform.training.checkpoints import save_checkpoint
from lstcl_platform.training.leases import Leases
from lstcl_platform.video.indexing import index_videos
from tests.helpers.videos import make_labelled_folder

STATE = {"w": torch.zeros(8)}


def study(folder, *, name="probed", epochs=(2, 5), **values):
    values = {
        "name": name,
        "data": {"train": "train", "val": "val"},
        "pretrain": {"epochs": 10, "warmup_epochs": 1, "batch_size": 4},
        "evaluate": {"protocols": ["knn", "linear"], "probe_epochs": list(epochs)},
        **values,
    }
    return parse_experiment(values, origin="test", folder=folder)


def graph_of(*specs):
    trials = [trial for spec in specs for trial in expand(spec).trials]
    return build_graph(trials, manifests={specs[0].data.train: specs[0].name, specs[0].data.val: "b"}), trials


def ours(key):
    return "ours"


def test_a_pretraining_goes_on_beside_its_probe_and_never_past_weights_that_are_not_kept_yet(tmp_path):
    graph, _ = graph_of(study(tmp_path))
    first, early, second, late, whole, end = graph.stages
    order = StageOrder(graph, finished=())
    assert order.next(ours).key == first
    assert order.next(ours).key is None
    order.end(first, "finished")
    assert [order.next(ours).key for _ in range(3)] == [early, second, None]
    order.end(second, "finished")
    order.end(early, "failed")  # a probe that fails holds nothing up
    assert [order.next(ours).key for _ in range(2)] == [late, whole]
    order.end(whole, "finished")
    assert order.next(ours).key == end

    failing = StageOrder(graph, finished=[first, early])
    failing.end(failing.next(ours).key, "failed")
    assert failing.next(ours).over


def test_probes_are_no_rungs_of_successive_halving(tmp_path):
    spec = study(
        tmp_path,
        evaluate={"protocols": ["knn", "finetuned"], "probe_epochs": [3]},
        sweep={"grid": {"finetune.stride": [1, 2]}, "halving": {"after_epochs": [3]}},
    )
    graph, trials = graph_of(spec)
    halving = Halving(graph, trials, folder=str(tmp_path / "halving"))
    chain = [graph.stages[key] for key in graph.chains["probed/stride=1"]]
    verdicts = [(stage.kind, stage.until, halving.verdict(stage.key)) for stage in chain]
    assert [verdict for _, _, verdict in verdicts] == ["run"] * 6 + ["wait"] * 2
    assert verdicts[-2][:2] == ("finetune", None)
    assert {chain[0].key, *halving.lost_with(chain[0].key)} == set(graph.stages)


def test_an_epoch_that_pretraining_has_left_behind_is_refused_and_one_ahead_of_it_is_not(tmp_path):
    spec = study(tmp_path)
    graph, _ = graph_of(spec)
    first, _, second, _, whole, _ = graph.stages
    dirs = {key: str(tmp_path / key) for key in graph.stages}
    data = {spec.data.train: SimpleNamespace(manifest=SimpleNamespace(usable=range(9)))}

    def check(*, finished=()):
        check_probe_epochs(graph, finished=finished, stage_dirs=dirs, data=data)

    check()
    check(finished=[first, second, whole])
    with pytest.raises(UserError) as refused:
        check(finished=[whole])
    for epoch in (2, 5):
        assert f"epoch {epoch} of probed/default: pretrain {whole[:10]} has come to epoch 10" in str(
            refused.value
        )
    # Two steps are an epoch: the whole pretraining, begun without probes, stands at epoch 3.
    save_checkpoint(str(tmp_path / whole / "a1"), 6, STATE)
    with pytest.raises(UserError) as refused:
        check()
    assert "epoch 2 of" in str(refused.value)
    assert "epoch 5 of" not in str(refused.value)
    check(finished=[first])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    videos = make_labelled_folder(folder / "train", classes=2, videos=4, frames=10, side=32)
    index_videos(videos).save(folder / "train.parquet")
    return str(folder / "train.parquet")


def test_a_part_goes_on_from_what_a_longer_pretraining_has_done_within_it(tmp_path, manifest):
    graph, _ = graph_of(study(tmp_path))
    first, _, second, _, whole, _ = graph.stages

    def job(key, *, rung=None):
        share = DecodeShare(task_cpus=1, cpus=1, object_store_bytes=1, label_selector={})
        placement = Placement(
            workers=1, worker_cpus=1, worker_gpus=0, label_selector={}, decode=share, concurrent=1
        )
        return StageJob(
            stage=graph.stages[key],
            train_manifest=manifest,
            val_manifest=manifest,
            stage_dir=str(tmp_path / key),
            placement=placement,
            checkpoint=CheckpointSpec(),
            log_every_steps=1,
            board=None,
            rung_checkpoint=rung,
            longer_dirs=tuple(str(tmp_path / longer.key) for longer in graph.longer(key)),
        )

    def start(key, **fields):
        return starting_point(job(key, **fields), on_damage=pytest.fail)

    assert start(first) is None
    done = {step: save_checkpoint(str(tmp_path / whole / "a1"), step, STATE) for step in (3, 9, 11)}
    assert start(first) == done[3]  # epoch 2 ends with step 4, epoch 5 with step 10
    assert start(second) == done[9]
    own = save_checkpoint(str(tmp_path / first / "a1"), 4, STATE)
    assert start(first) == own
    assert start(second, rung=own.uri) == done[9]
    rung = save_checkpoint(str(tmp_path / second / "a1"), 10, STATE)
    assert start(whole, rung=rung.uri) == done[11]
    further = save_checkpoint(str(tmp_path / "other" / "a1"), 12, STATE)
    assert start(whole, rung=further.uri) == further


class Launch:
    """A launch whose stages end as they are told."""

    def __init__(self, tracker, folder, spec):
        self.name, self.tracker, self.train = spec.name, tracker, folder / "train"
        self.graph, trials = graph_of(spec)
        self.leases = Leases()
        self.run = tracker.begin_launch(spec, requested={}, trials=trials, graph=self.graph)
        self.recorder = Recorder(
            tracker,
            self.graph,
            halving=Halving(self.graph, (), folder="none"),
            launches={self.name: self.run},
            finished=tracker.finished(self.graph.stages),
            dataset_of=lambda stage: {"name": "v", "digest": "d", "source": "/d", "context": "training"},
            turns=Turns(
                self.leases,
                stage_dirs={key: str(self.train / key) for key in self.graph.stages},
                patience=Patience(60),
            ),
            view=SimpleNamespace(message=lambda text: None),
        )

    def end(self, key, **metrics):
        assert self.recorder.take_turn(key) == "ours"
        attempt = self.train / key / "a1"
        told = {"start_step": 0, "total": 3, "attempt_dir": str(attempt)}
        self.recorder.handle([Event(kind="attempt", stage=key, attempt=1, data=told)])
        nothing = (
            "weights",
            "weights_digest",
            "predictions",
            "state_digest",
            "bad_videos_table",
            "checkpoint",
        )
        result = {"steps": 3, "metrics": metrics, "fingerprint": {}, "dataset_digest": "d", "bad_videos": 0}
        result |= dict.fromkeys(nothing)
        if self.graph.stages[key].kind == "pretrain":
            save_checkpoint(str(attempt), 3, STATE)
            weights = attempt / "final" / "weights.safetensors"
            weights.parent.mkdir()
            weights.write_bytes(b"weights")
            result |= {"weights": str(weights), "weights_digest": "w"}
        return self.recorder.complete(key, {"status": "finished", "result": result})


def shown(view):
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(view)
    return console.file.getvalue()


def check_comparison_and_report(tracker, trial):
    comparison = compare_trials([trial])
    assert ["default", "0.375", "0.625", "0.875"] in [
        line.split() for line in shown(comparison_table(comparison, width=160)).splitlines()
    ]
    (record,) = json.loads(json.dumps(comparison_records(comparison)))
    assert [(each["epoch"], each["mean"]) for each in record["probes"]["knn_top1"]] == [
        (2, 0.25),
        (5, 0.5),
        (10, 0.75),
    ]
    chapter = chapter_of(tracker, read_study(tracker, "probed"))
    (section,) = (section for section in chapter.sections if section.anchor == "probes")
    (ran,) = (section for section in chapter.sections if section.anchor == "ran")
    assert [row[0].text for row in ran.tables[0].rows] == [
        "pretraining, epoch 2",
        "pretraining, epoch 5",
        "pretraining",
        "probe, epoch 2",
        "probe, epoch 5",
        "probe",
    ]
    (drawing,) = section.drawings
    assert [panel.alt for panel in drawing.panels] == [
        "k-NN top-1 accuracy (%) over epochs of pretraining: default: 25.0 at 2, 50.0 at 5, 75.0 at 10.",
        "linear probe top-1 accuracy (%) over epochs of pretraining: default: 37.5 at 2, 62.5 at 5, 87.5 at 10.",
    ]
    assert [[cell.text for cell in row] for row in section.tables[1].rows] == [
        ["default", "37.5", "62.5", "87.5"]
    ]


def test_frozen_accuracy_over_epochs_is_recorded_and_shown_as_it_appears(tracker, tmp_path):
    spec = study(tmp_path)
    launch = Launch(tracker, tmp_path, spec)
    first, early, second, late, whole, end = launch.graph.stages
    launch.end(first, loss=1.0)
    launch.end(early, knn_top1=0.25, knn_top5=1.0, linear_top1=0.375, linear_top5=1.0, linear_lr=0.1)
    launch.end(second, loss=0.5)
    launch.end(late, knn_top1=0.5, knn_top5=1.0, linear_top1=0.625, linear_top5=1.0, linear_lr=0.3)
    launch.leases.close()

    (trial,) = tracker.trial_results("probed")
    assert trial.status != "finished"
    assert {epoch: found["linear_top1"] for epoch, found in trial.probes.items()} == {2: 0.375, 5: 0.625}
    status = shown(
        experiment_view(tracker.launch_state("probed"), [trial], metric="linear_top1", resume="again")
    )
    lines = [line.split() for line in status.splitlines()]
    assert lines.count(["cell", "2", "5"]) == 2
    assert ["default", "0.375", "0.625"] in lines
    assert ["default", "0.250", "0.500"] in lines
    assert "epoch 5: done" in status

    # The weights of both epochs stay, and so does the checkpoint that pretraining goes on from.
    found = {(item.key, item.reason) for item in clean(tracker, str(launch.train)).superfluous}
    assert found == set()

    again = Launch(tracker, tmp_path, spec)
    again.end(whole, loss=0.25)
    again.end(end, knn_top1=0.75, knn_top5=1.0, linear_top1=0.875, linear_top5=1.0, linear_lr=0.3)
    again.leases.close()
    (trial,) = tracker.trial_results("probed")
    assert (trial.status, trial.metrics["linear_top1"]) == ("finished", 0.875)
    assert not any(name.startswith("probe/") for name in trial.metrics)
    curves = tracker.stage_curves(trial.run_id, ["probe/linear_top1", "probe/knn_top1", "probe/linear_lr"])
    assert curves == {
        "probe/linear_top1": [(2, 0.375), (5, 0.625), (10, 0.875)],
        "probe/knn_top1": [(2, 0.25), (5, 0.5), (10, 0.75)],
    }
    superfluous = clean(tracker, str(again.train)).superfluous
    assert {item.key for item in superfluous} == {first, second, whole}
    assert {item.reason for item in superfluous} == {"checkpoint of a finished stage"}

    check_comparison_and_report(tracker, trial)


def test_a_study_that_is_probed_at_its_end_alone_shows_no_curve(tracker, tmp_path):
    launch = Launch(tracker, tmp_path, study(tmp_path, name="unprobed", epochs=()))
    pretrain, probe = launch.graph.stages
    launch.end(pretrain, loss=1.0)
    launch.end(probe, knn_top1=0.25, linear_top1=0.5)
    launch.leases.close()
    (trial,) = tracker.trial_results("unprobed")
    assert (trial.status, trial.probes) == ("finished", {})
    assert compare_trials([trial]).cells[0].probes == {}
    chapter = chapter_of(tracker, read_study(tracker, "unprobed"))
    assert all(section.anchor != "probes" for section in chapter.sections)
