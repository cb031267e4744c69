import threading

import pytest
from ray.tune.search import Searcher

from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.searcher import (
    PARENT_SHA256_PARAM,
    PARENT_WEIGHTS_PARAM,
    STAGE_PARAM,
    StageSearcher,
)
from lstcl_platform.specs import build_graph, expand
from lstcl_platform.specs.loading import parse_experiment
from lstcl_platform.tracking.tracker import FinishedStage


@pytest.fixture
def graph(tmp_path):
    values = {
        "name": "study",
        "data": {"train": "train", "val": "val"},
        "sweep": {"grid": {"finetune.seed": [0, 1]}, "cases": [{"name": "scratch", "pretrain": None}]},
    }
    spec = parse_experiment(values, origin="test", folder=tmp_path)
    trials = expand(spec).trials
    return build_graph(trials, manifests={spec.data.train: "a", spec.data.val: "b"})


def finished(key: str) -> FinishedStage:
    return FinishedStage(
        key=key,
        run_id="run",
        metrics={},
        weights=f"{key}/weights",
        weights_sha256=f"{key}/digest",
        checkpoint=None,
        predictions=None,
        state_digest=None,
        fingerprint={},
        dataset_digest=None,
        seconds=1.0,
    )


class Run:
    """Plays Tune's part: asks for stages, and ends them."""

    def __init__(self, graph, *, done=(), failing=()):
        self.graph = graph
        self.stop = threading.Event()
        self.order: list[str] = []
        self.trial_of: dict[str, str] = {}

        self.turns: dict[str, object] = {}

        def complete(key, result):
            if result is None:
                return "again"
            return None if key in failing else finished(key)

        self.searcher = StageSearcher(
            graph,
            halving=Halving(graph, (), folder="none"),
            finished={key: finished(key) for key in done},
            take_turn=lambda key: self.turns.get(key, "ours"),
            on_complete=complete,
            stop=self.stop,
        )

    def start(self):
        trial = f"trial{len(self.order)}"
        config = self.searcher.suggest(trial)
        if isinstance(config, dict):
            self.order.append(config[STAGE_PARAM])
            self.trial_of[config[STAGE_PARAM]] = trial
        return config

    def end(self, key, **how):
        self.searcher.on_trial_complete(self.trial_of[key], result={}, **how)

    def to_the_end(self):
        while (config := self.start()) != Searcher.FINISHED:
            assert config is not None, "nothing runs, so waiting would never end"
            self.end(config[STAGE_PARAM])
        return self.order


def keys(graph, kind):
    return [stage.key for stage in graph.stages.values() if stage.kind == kind]


def test_every_stage_runs_once_and_after_its_parent(graph):
    order = Run(graph).to_the_end()
    assert sorted(order) == sorted(graph.stages)
    for key in order:
        parent = graph.stages[key].parent
        assert parent is None or order.index(parent) < order.index(key)


def test_a_child_waits_for_its_parent_and_gets_its_weights(graph):
    run = Run(graph)
    (pretrain,) = keys(graph, "pretrain")
    started = [run.start(), run.start()]  # the pretraining, and the finetuning from scratch
    assert run.start() is None
    assert {config[STAGE_PARAM] for config in started} >= {pretrain}
    run.end(pretrain)
    child = run.start()
    assert graph.stages[child[STAGE_PARAM]].parent == pretrain
    assert child[PARENT_WEIGHTS_PARAM] == f"{pretrain}/weights"
    assert child[PARENT_SHA256_PARAM] == f"{pretrain}/digest"


def test_finished_stages_are_not_handed_out(graph):
    done = keys(graph, "pretrain") + keys(graph, "finetune")
    assert sorted(Run(graph, done=done).to_the_end()) == sorted(keys(graph, "evaluate"))


def test_a_failed_stage_takes_only_its_descendants_with_it(graph):
    (pretrain,) = keys(graph, "pretrain")
    run = Run(graph, failing=[pretrain])
    config = run.start()
    assert config[STAGE_PARAM] == pretrain
    run.end(pretrain)
    scratch = set(graph.chains["study/scratch"])
    assert set(run.to_the_end()) == {pretrain} | scratch


def test_a_stage_whose_driver_died_comes_again_before_all_others(graph):
    run = Run(graph)
    first = run.start()[STAGE_PARAM]
    run.end(first, error=True)
    assert run.start()[STAGE_PARAM] == first


def test_what_another_launch_runs_is_passed_over_until_its_result_is_there(graph):
    (pretrain,) = keys(graph, "pretrain")
    run = Run(graph)
    run.turns[pretrain] = "theirs"
    scratch = graph.chains["study/scratch"]
    for key in scratch:
        assert run.start()[STAGE_PARAM] == key
        run.end(key)
    assert run.start() is None
    run.turns[pretrain] = finished(pretrain)
    rest = run.to_the_end()
    assert pretrain not in rest
    assert sorted([pretrain, *rest]) == sorted(graph.stages)


def test_after_a_stop_nothing_new_starts_and_the_end_comes_with_the_last_running_stage(graph):
    run = Run(graph)
    first = run.start()[STAGE_PARAM]
    run.stop.set()
    assert run.start() is None
    run.end(first)
    assert run.start() == Searcher.FINISHED
