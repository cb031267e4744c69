"""Tables and figure of `docs/evidence.md` from what the launches of `experiments/evidence/` left. Run by hand.

    python benchmarks/evidence_results.py --storage STORAGE [--plot FIGURE.svg] EXPERIMENT...

For each experiment: top-1 of every way of training and protocol, pooled over the folds, with the spread over seeds and
a bootstrap interval over videos; paired tests between the ways of training on the same test videos; and what no
learning scores. Prints Markdown.
"""

import argparse
import itertools
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from lstcl_platform.cli.results import open_store
from lstcl_platform.results.compare import BASELINES
from lstcl_platform.results.paired import bootstrap_interval, mcnemar, paired_difference
from lstcl_platform.tracking.records import TrialResult
from lstcl_platform.tracking.tracker import Tracker

PROTOCOLS = {"finetuned": "predicted", "linear": "linear_predicted", "knn": "knn_predicted"}
"""Protocol -> column of the predictions that says what was predicted."""
SCRATCH = "scratch"
_PERSON = re.compile(r"s\d+(?=_)")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one way of training got right.

    Attributes:
        videos: names of the test videos over all folds, in the order of `correct`.
        correct: whether each was right, bool (seeds, videos).
    """

    videos: tuple[str, ...]
    correct: npt.NDArray[np.bool_]

    @property
    def persons(self) -> list[str] | None:
        """Who is in each video, where all names say so (`s01_...`)."""
        found = [_PERSON.match(PurePosixPath(video).name) for video in self.videos]
        return None if None in found else [match.group() for match in found if match]


Study = Mapping[str, Mapping[str, Scores]]
"""Protocol -> way of training -> scores."""


def way_of(trial: TrialResult) -> str:
    """`scratch`, or the strides of the pretraining."""
    if trial.cell.get("pretrain", "") is None:
        return SCRATCH
    return f"long stride {trial.cell['pretrain.clips.long_stride']}"


def read_study(tracker: Tracker, experiment: str) -> Study:
    """The stored predictions of all finished trials."""
    trials = tracker.trial_results(experiment)
    finished = tracker.finished({stage.key for trial in trials for stage in trial.stages})
    found: dict[str, dict[str, dict[int, dict[str, bool]]]] = defaultdict(lambda: defaultdict(dict))
    for trial in trials:
        seed = int(trial.cell["finetune.seed"])
        for stage in trial.stages:
            if stage.key not in finished or (location := finished[stage.key].predictions) is None:
                continue
            table = pq.read_table(location.removeprefix("file://")).to_pydict()
            for protocol, column in PROTOCOLS.items():
                if column not in table:
                    continue
                hits = found[protocol][way_of(trial)].setdefault(seed, {})
                for path, label, predicted in zip(table["path"], table["label"], table[column], strict=True):
                    name = "/".join(PurePosixPath(path).parts[-2:])
                    assert name not in hits, f"{name} was tested twice with seed {seed}"
                    hits[name] = label == predicted
    return {
        protocol: {way: _scores(seeds) for way, seeds in ways.items()} for protocol, ways in found.items()
    }


def _scores(seeds: Mapping[int, Mapping[str, bool]]) -> Scores:
    videos = tuple(sorted(set().union(*seeds.values())))
    rows = [[hits[video] for video in videos] for _, hits in sorted(seeds.items())]
    return Scores(videos=videos, correct=np.array(rows, dtype=bool))


def accuracy_table(study: Study) -> list[str]:
    """A row a way of training, a column a protocol."""
    ways = list(dict.fromkeys(way for scores in study.values() for way in scores))
    lines = ["| | " + " | ".join(study) + " |", "|---|" + "---|" * len(study)]
    for way in ways:
        cells = [_accuracy(scores[way]) if way in scores else "" for scores in study.values()]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return lines


def _accuracy(scores: Scores) -> str:
    seeds = scores.correct.mean(axis=1).tolist()
    spread = f" ± {statistics.stdev(seeds):.3f}" if len(seeds) > 1 else ""
    low, high = bootstrap_interval(scores.correct)
    each = ", ".join(f"{share:.3f}" for share in seeds)
    return f"{statistics.fmean(seeds):.3f}{spread} [{low:.3f}, {high:.3f}] ({each})"


def difference_table(study: Study, *, by_person: bool) -> list[str]:
    """A row a protocol and pair of ways: by how much the second is better, and how sure that is."""
    persons = " by person: interval | p |" if by_person else ""
    lines = [
        f"| protocol | second less first | difference | by video: interval | p |{persons} McNemar's p, each seed |",
        "|---|---|---|---|---|" + ("---|---|" if by_person else "") + "---|",
    ]
    for protocol, ways in study.items():
        for first, second in itertools.combinations(_ordered(ways), 2):
            a, b = ways[first], ways[second]
            assert a.videos == b.videos
            views = [paired_difference(a.correct, b.correct)]
            if by_person:
                views.append(paired_difference(a.correct, b.correct, groups=a.persons))
            tests = [mcnemar(x, y).p_value for x, y in zip(a.correct, b.correct, strict=False)]
            shown = " | ".join(f"[{view.low:+.3f}, {view.high:+.3f}] | {view.p_value:.3f}" for view in views)
            lines.append(
                f"| {protocol} | {second} - {first} | {views[0].mean:+.3f} | {shown} | "
                + ", ".join(f"{p:.2f}" for p in tests)
                + " |"
            )
    return lines


def _ordered(ways: Mapping[str, Scores]) -> list[str]:
    """Scratch first, then by long stride."""
    return sorted(ways, key=lambda way: (way != SCRATCH, len(way), way))


def plot(studies: Mapping[str, Study], baselines: Mapping[str, Mapping[str, float]], target: Path) -> None:
    """One panel an experiment: mean and bootstrap interval of each way and protocol, dots for the seeds."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.6 * len(studies), 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(studies), sharey=True, squeeze=False)[0]
        colors = ("#7f7f7f", "#0072b2", "#d55e00")
        for axes, (experiment, study) in zip(panels, studies.items(), strict=True):
            for place, ways in enumerate(study.values()):
                for index, way in enumerate(_ordered(ways)):
                    seeds = ways[way].correct.mean(axis=1)
                    low, high = bootstrap_interval(ways[way].correct)
                    x = place + 0.24 * (index - 1)
                    axes.vlines(x, low, high, color=colors[index], linewidth=1.5)
                    axes.plot([x] * len(seeds), seeds, ".", color=colors[index], markersize=4, alpha=0.6)
                    label = way if place == 0 else None
                    axes.plot(x, seeds.mean(), "o", color=colors[index], markersize=6, label=label)
            for name, style in (("baseline_majority", ":"), ("baseline_mean_frame", "--")):
                share = baselines[experiment].get(name)
                if share is not None:
                    axes.axhline(share, color="#444444", linestyle=style, linewidth=1, label=BASELINES[name])
            axes.set_xticks(range(len(study)), list(study))
            axes.set_title(experiment, loc="left", fontsize=9)
        panels[0].set_ylabel("top-1")
        panels[0].set_ylim(0, 1)
        panels[-1].legend(frameon=False, fontsize=7, loc="upper right")
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target)


def report(experiment: str, study: Study, baselines: Mapping[str, float]) -> None:
    """Print what is known of one experiment."""
    first = next(scores for ways in study.values() for scores in ways.values())
    persons = first.persons
    by_person = persons is not None
    print(f"\n### {experiment}\n")
    print(f"{len(first.videos)} test videos" + (f" of {len(set(persons))} persons" if persons else "") + ".")
    print("Mean ± standard deviation over seeds [95 % bootstrap interval over videos] (each seed):\n")
    print("\n".join(accuracy_table(study)))
    print(
        f"\nWithout learning: {', '.join(f'{BASELINES[name]} {share:.3f}' for name, share in baselines.items())}.\n"
    )
    print("\n".join(difference_table(study, by_person=by_person)))


def main() -> None:
    """Read, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT")
    parser.add_argument("--storage", default="lstcl_runs", help="`storage.path` of the launches")
    parser.add_argument("--plot", type=Path, help="figure to write: .svg, .png or .pdf")
    given = parser.parse_args()
    tracker = open_store(storage=given.storage, tracking_uri=None)
    studies = {name: read_study(tracker, name) for name in given.experiments}
    baselines = {
        name: {key: share for key, share in tracker.launch_state(name).metrics.items() if key in BASELINES}
        for name in given.experiments
    }
    for name, study in studies.items():
        report(name, study, baselines[name])
    if given.plot is not None:
        plot(studies, baselines, given.plot)


if __name__ == "__main__":
    main()
