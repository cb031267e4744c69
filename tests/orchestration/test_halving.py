import threading
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.searcher import RUNG_CHECKPOINT_PARAM, STAGE_PARAM, StageSearcher
from lstcl_platform.specs import UserError, build_graph, expand, parse_experiment
from lstcl_platform.tracking.records import FinishedStage

TOP1 = {"short=1": 0.2, "short=2": 0.5, "short=4": 0.9, "short=8": 0.5}
"""Of each cell, at every rung: short=4 is the best, and of two equal ones short=2 comes first."""


class Launch:
    """A study of four cells with two seeds and two rungs, and Tune's part: asks for stages and ends them."""

    def __init__(self, folder: Path, *, halving=True, finished=None, failing=(), others=()):
        specs = [self.spec(folder, "study", halving=halving), *others]
        self.trials = [trial for spec in specs for trial in expand(spec).trials]
        manifests = {path: path for trial in self.trials for path in trial.spec.sources()}
        self.graph = build_graph(self.trials, manifests=manifests)
        self.halving = Halving(self.graph, self.trials, folder=str(folder / "halving"))
        self.finished: dict[str, FinishedStage] = dict(finished or {})
        self.failing = failing
        self.decisions = self.halving.settle(self.finished)
        self.configs: dict[str, dict] = {}
        self.running: dict[str, str] = {}
        self.searcher = StageSearcher(
            self.graph,
            halving=self.halving,
            finished=self.finished,
            take_turn=lambda key: "ours",
            on_complete=self._complete,
            stop=threading.Event(),
        )

    @staticmethod
    def spec(folder, name, *, halving=True):
        sweep = {"grid": {"pretrain.clips.short_stride": [1, 2, 4, 8], "finetune.seed": [0, 1]}}
        if halving:
            sweep["halving"] = {"after_epochs": [5, 15]}
        values = {"name": name, "data": {"train": "train", "val": "val"}, "sweep": sweep}
        return parse_experiment(values, origin="test", folder=folder)

    def _complete(self, key, result):
        stage = self.graph.stages[key]
        if key in self.failing:
            return None
        # The two seeds of a cell lie as far above as below its mean.
        trial = stage.trials[0].split("/")[1]
        sway = 0.1 if trial.endswith("seed=1") else -0.1
        self.finished[key] = FinishedStage(
            key=key,
            run_id="run",
            metrics={"top1": TOP1[trial.split()[0]] + sway, "top5": 1.0},
            weights=f"{key}/weights",
            weights_sha256=None,
            checkpoint=f"{key}/checkpoint",
            predictions=None,
            state_digest=None,
            fingerprint={},
            dataset_digest=None,
            seconds=1.0,
        )
        self.decisions += self.halving.settle(self.finished)
        return self.finished[key]

    def start(self):
        config = self.searcher.suggest(name := f"t{len(self.configs)}")
        if isinstance(config, dict):
            key = config[STAGE_PARAM]
            assert key not in self.configs, "handed out twice"
            self.configs[key], self.running[key] = config, name
        return config

    def end(self, key):
        self.searcher.on_trial_complete(self.running.pop(key), result={})

    def to_the_end(self, *, until=lambda: False, newest_first=False):
        """Run everything, as many stages at once as can start; end them in one order or the other."""
        while not until():
            while isinstance(config := self.start(), dict):
                pass
            if config == Searcher.FINISHED and not self.running:
                return self
            assert self.running, "nothing runs, so waiting would never end"
            self.end((list(self.running)[-1]) if newest_first else next(iter(self.running)))
        return self

    def told(self):
        return [
            sorted((s.cell, round(s.score, 6), s.rank, s.goes_on) for s in d.standings)
            for d in self.decisions
        ]

    def ran(self, until):
        """Cells with a stage that ran to this rung, with the number of such finetunings."""
        found: dict[str, int] = {}
        for key in self.configs:
            stage = self.graph.stages[key]
            if stage.kind == "finetune" and stage.until == until:
                cell = stage.trials[0].split("/")[1].split()[0]
                found[cell] = found.get(cell, 0) + 1
        return found


EXPECTED = [
    [
        ("short=1", 0.2, 4, False),
        ("short=2", 0.5, 2, True),
        ("short=4", 0.9, 1, True),
        ("short=8", 0.5, 3, False),
    ],
    [("short=2", 0.5, 2, False), ("short=4", 0.9, 1, True)],
]


@pytest.mark.parametrize("newest_first", [False, True])
def test_only_the_best_cells_go_on_whatever_finishes_first(tmp_path, newest_first):
    launch = Launch(tmp_path).to_the_end(newest_first=newest_first)
    assert launch.told() == EXPECTED
    assert launch.ran(5) == dict.fromkeys(TOP1, 2)
    assert launch.ran(15) == {"short=2": 2, "short=4": 2}
    assert launch.ran(None) == {"short=4": 2}
    assert [launch.halving.verdict_on(f"study/short={n} seed=0") for n in (1, 2, 4)] == [
        "drop",
        "drop",
        "run",
    ]
    standing = launch.halving.standing("study/short=2 seed=1")
    assert (standing.epoch, standing.rank, standing.going_on) == (15, 2, 1)


def test_no_cell_goes_on_before_all_are_tested_and_each_goes_on_from_its_rung(tmp_path):
    launch = Launch(tmp_path)
    launch.to_the_end(until=lambda: len(launch.finished) == 4 + 2 * 8 - 1)
    assert launch.ran(15) == {}
    assert launch.start() is None
    launch.to_the_end()
    for key, config in launch.configs.items():
        rungs = launch.graph.stages[key].earlier
        assert config[RUNG_CHECKPOINT_PARAM] == (f"{rungs[-1]}/checkpoint" if rungs else None)


def test_a_later_launch_takes_the_stored_decision_and_runs_nothing_of_what_was_stopped(tmp_path):
    first = Launch(tmp_path)
    first.to_the_end(until=lambda: first.decisions)
    files = list((tmp_path / "halving" / "study").iterdir())
    second = Launch(tmp_path, finished=first.finished)
    assert second.told() == EXPECTED[:1]
    # Even if results read otherwise now: what was decided stays, and what is told of it.
    worse = {
        key: FinishedStage(**{**vars(stage), "metrics": {"top1": 0.0}})
        for key, stage in first.finished.items()
    }
    assert Launch(tmp_path, finished=worse).told() == EXPECTED[:1]
    second.to_the_end()
    assert second.told() == EXPECTED
    assert not set(second.configs) & set(first.finished)
    assert second.ran(15) == {"short=2": 2, "short=4": 2}
    third = Launch(tmp_path, finished=second.finished)
    assert third.told() == EXPECTED
    assert third.start() == Searcher.FINISHED
    files[0].write_text("{")
    with pytest.raises(UserError, match=files[0].name):
        Launch(tmp_path, finished=second.finished)


def test_another_question_is_decided_anew(tmp_path):
    Launch(tmp_path).to_the_end()
    launch = Launch(tmp_path)
    study = launch.trials[0].halving
    other = [
        type(t)(**{**vars(t), "halving": study.model_copy(update={"keep": 0.75})}) for t in launch.trials
    ]
    assert Halving(launch.graph, other, folder=str(tmp_path / "halving")).settle({}) == []
    assert len(launch.decisions) == 2


def test_a_cell_that_fails_holds_the_ranking_and_all_that_waits_for_it(tmp_path):
    plain = Launch.spec(tmp_path, "plain", halving=False)
    graph = Launch(tmp_path, others=[plain]).graph
    rung = next(key for key in graph.chains["study/short=1 seed=0"] if graph.stages[key].until == 5)
    launch = Launch(tmp_path, others=[plain], failing=[rung])
    lost = set(launch.halving.lost_with(rung))
    launch.to_the_end()
    assert launch.decisions == []
    assert launch.ran(15) == {}
    # The study without halving needs every finetuning to the end, and loses none.
    assert launch.ran(None) == dict.fromkeys(TOP1, 2)
    assert {(graph.stages[key].kind, graph.stages[key].until) for key in lost} == {
        ("evaluate", 5),
        ("finetune", 15),
        ("evaluate", 15),
    }
    assert len(lost) == 1 + 2 * 8


def test_without_halving_every_stage_runs_and_nothing_is_stored(tmp_path):
    launch = Launch(tmp_path, halving=False).to_the_end()
    assert set(launch.finished) == set(launch.graph.stages)
    assert launch.decisions == []
    assert not (tmp_path / "halving").exists()
