"""Tables and figure of `docs/evidence.md` from what the launches of `experiments/evidence/` left. Run by hand.

    python benchmarks/evidence_results.py evidence_tennis evidence_yoga --storage STORAGE \\
        --document docs/evidence.md --plot docs/evidence.svg

For each experiment: top-1 of every way of training and protocol, pooled over the folds, with the spread over seeds and
a bootstrap interval over videos; paired tests between the ways of training on the same test videos; and what no
learning scores. Prints Markdown, or writes it between the two marks in a document.

A seed of a way of training counts where its trials of all folds have finished; what else there is is named.
"""

import argparse
import itertools
import operator
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
MARKS = ("<!-- results: begin -->", "<!-- results: end -->")
"""Lines of a document between which the tables stand."""
_PERSON = re.compile(r"s\d+(?=_)")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one way of training got right.

    Attributes:
        videos: names of the test videos over all folds, in the order of `correct`.
        seeds: those that are complete.
        correct: whether each was right, bool (seeds, videos).
    """

    videos: tuple[str, ...]
    seeds: tuple[int, ...]
    correct: npt.NDArray[np.bool_]

    @property
    def persons(self) -> list[str] | None:
        """Who is in each video, where all names say so (`s01_...`)."""
        found = [_PERSON.match(PurePosixPath(video).name) for video in self.videos]
        return None if None in found else [match.group() for match in found if match]


Hits = dict[str, bool]
"""Video -> whether it was right."""
Study = Mapping[str, Mapping[str, Scores]]
"""Protocol -> way of training -> scores."""


def way_of(trial: TrialResult, *, short_stride: int) -> str:
    """`scratch`, or the strides of the pretraining."""
    if trial.cell.get("pretrain", "") is None:
        return SCRATCH
    long_stride = trial.cell["pretrain.clips.long_stride"]
    return (
        f"{'equal strides' if long_stride == short_stride else 'long stride'} ({short_stride}, {long_stride})"
    )


def read_study(tracker: Tracker, experiment: str) -> Study:
    """What stored predictions say, of each protocol with the seeds for which all ways of training are complete."""
    trials = tracker.trial_results(experiment)
    recorded = tracker.recorded_spec(experiment).spec.pretrain
    assert recorded is not None
    way = partial(way_of, short_stride=recorded.clips.short_strides[0])
    finished = tracker.finished({stage.key for trial in trials for stage in trial.stages})
    tests = [
        (way(trial), int(trial.cell["finetune.seed"]), finished[stage.key].predictions)
        for trial in trials
        for stage in trial.stages
        if stage.key in finished
    ]
    found: dict[str, dict[int, dict[str, Hits]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for name, seed, location in tests:
        for protocol, hits in _hits_of(location).items():
            twice = found[protocol][seed][name].keys() & hits.keys()
            assert not twice, f"{min(twice)} was tested twice with seed {seed}"
            found[protocol][seed][name] |= hits
    ways = list(dict.fromkeys(map(way, trials)))
    return {
        protocol: complete
        for protocol in PROTOCOLS
        if (complete := _complete(found[protocol], ways, experiment=f"{experiment}, {protocol}"))
    }


def _hits_of(location: str | None) -> dict[str, Hits]:
    """Protocol -> video -> whether it was right, of the predictions of one stage."""
    if location is None:
        return {}
    table = pq.read_table(location.removeprefix("file://")).to_pydict()
    names = ["/".join(PurePosixPath(path).parts[-2:]) for path in table["path"]]
    return {
        protocol: dict(zip(names, map(operator.eq, table["label"], table[column]), strict=True))
        for protocol, column in PROTOCOLS.items()
        if column in table
    }


def _complete(
    seeds: Mapping[int, Mapping[str, Hits]], ways: Sequence[str], *, experiment: str
) -> dict[str, Scores]:
    videos = tuple(sorted({video for hits in seeds.values() for way in hits.values() for video in way}))
    kept = [
        seed
        for seed, hits in sorted(seeds.items())
        if all(len(hits.get(way, ())) == len(videos) for way in ways)
    ]
    for seed in sorted(seeds.keys() - set(kept)):
        tested = ", ".join(f"{way} {len(seeds[seed].get(way, ()))}" for way in ways)
        print(
            f"left out: {experiment}, seed {seed}: of {len(videos)} videos tested: {tested}", file=sys.stderr
        )
    if not kept:
        return {}
    return {
        way: Scores(
            videos=videos,
            seeds=tuple(kept),
            correct=np.array([[seeds[seed][way][video] for video in videos] for seed in kept], dtype=bool),
        )
        for way in sorted(ways, key=lambda way: (way != SCRATCH, way))
    }


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
        for first, second in itertools.combinations(ways, 2):
            a, b = ways[first], ways[second]
            assert a.videos == b.videos
            views = [paired_difference(a.correct, b.correct)]
            if by_person:
                views.append(paired_difference(a.correct, b.correct, groups=a.persons))
            tests = [mcnemar(x, y).p_value for x, y in zip(a.correct, b.correct, strict=True)]
            shown = " | ".join(f"[{view.low:+.3f}, {view.high:+.3f}] | {_p(view.p_value)}" for view in views)
            lines.append(
                f"| {protocol} | {second} - {first} | {views[0].mean:+.3f} | {shown} | "
                + ", ".join(map(_p, tests))
                + " |"
            )
    return lines


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


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
                for index, way in enumerate(ways):
                    seeds = ways[way].correct.mean(axis=1)
                    low, high = bootstrap_interval(ways[way].correct)
                    x = place + 0.24 * (index - 1)
                    axes.vlines(x, low, high, color=colors[index], linewidth=1.5)
                    axes.plot([x] * len(seeds), seeds, ".", color=colors[index], markersize=4, alpha=0.6)
                    label = way.partition(" (")[0] if place == 0 else None
                    axes.plot(x, seeds.mean(), "o", color=colors[index], markersize=6, label=label)
            for name, style in (("baseline_majority", ":"), ("baseline_mean_frame", "--")):
                share = baselines[experiment].get(name)
                if share is not None:
                    axes.axhline(share, color="#444444", linestyle=style, linewidth=1, label=BASELINES[name])
            axes.set_xticks(range(len(study)), list(study))
            axes.set_title(experiment, loc="left", fontsize=9)
        panels[0].set_ylabel("top-1")
        panels[0].set_ylim(0, 1)
        panels[0].legend(frameon=False, fontsize=7, loc="upper right")
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target)


def tables(experiment: str, study: Study, baselines: Mapping[str, float]) -> list[str]:
    """Lines of Markdown about one experiment."""
    if not study:
        return [f"### {experiment}", "", "No seed is complete yet, so nothing can be said.", ""]
    first = next(scores for ways in study.values() for scores in ways.values())
    persons = first.persons
    whose = f" of {len(set(persons))} persons" if persons else ""
    known = ", ".join(f"{BASELINES[name]} {share:.3f}" for name, share in baselines.items())
    return [
        f"### {experiment}",
        "",
        f"{len(first.videos)} test videos{whose}, seeds {', '.join(map(str, first.seeds))}. Top-1: mean ± standard "
        "deviation over seeds [95 % bootstrap interval over videos] (each seed).",
        "",
        *accuracy_table(study),
        "",
        f"Without learning: {known or 'not computed yet'}.",
        "",
        *difference_table(study, by_person=persons is not None),
        "",
    ]


def write_between_marks(document: Path, lines: Sequence[str]) -> None:
    """Replace what stands between `MARKS`."""
    before, rest = document.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    text = "\n".join([MARKS[0], "", *lines, MARKS[1]])
    document.write_text(before + text + after, encoding="utf-8")


def main() -> None:
    """Read, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT")
    parser.add_argument("--storage", default="lstcl_runs", help="`storage.path` of the launches")
    parser.add_argument("--document", type=Path, help="Markdown file that has the two marks")
    parser.add_argument("--plot", type=Path, help="figure to write: .svg, .png or .pdf")
    given = parser.parse_args()
    tracker = open_store(storage=given.storage, tracking_uri=None)
    studies = {name: read_study(tracker, name) for name in given.experiments}
    baselines = {
        name: {key: share for key, share in tracker.launch_state(name).metrics.items() if key in BASELINES}
        for name in given.experiments
    }
    lines = [line for name, study in studies.items() for line in tables(name, study, baselines[name])]
    if given.document is None:
        print("\n".join(lines))
    else:
        write_between_marks(given.document, lines)
    complete = {name: study for name, study in studies.items() if study}
    if given.plot is not None and complete:
        plot(complete, baselines, given.plot)


if __name__ == "__main__":
    main()
