"""What `status` shows: what is done, what runs and how far, what failed and where to look."""

import time
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.probes import probe_tables
from lstcl_platform.results.text import duration, moment, number
from lstcl_platform.specs.wording import numbered
from lstcl_platform.tracking.records import LaunchState, StageState, TrialResult

_KINDS = ("pretrain", "probe", "finetune", "evaluate")
_PROBED = ("pretrain", "probe")
"""Of these, several of a trial are parts of one pretraining, and their probes."""
_STYLES: Mapping[str, str] = {
    "waiting": "dim",
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "interrupted": "yellow",
    "stopped": "dim",
}


def experiments_table(launches: Sequence[tuple[LaunchState, Sequence[TrialResult]]]) -> Table:
    """One line an experiment: its newest launch and how many trials stand where."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("experiment", overflow="fold")
    table.add_column("launch", no_wrap=True)
    table.add_column("trials done", justify="right", no_wrap=True)
    table.add_column("failed", justify="right", no_wrap=True)
    table.add_column("computed", justify="right", no_wrap=True)
    table.add_column("started", no_wrap=True)
    for launch, trials in launches:
        done = sum(trial.status == "finished" for trial in trials)
        failed = sum(trial.status == "failed" for trial in trials)
        table.add_row(
            Text(launch.experiment),
            Text(launch.status, _STYLES[launch.status]),
            f"{done} of {len(trials)}",
            Text(str(failed), "red" if failed else "dim"),
            duration(_seconds(trials)),
            moment(launch.began_at),
        )
    return table


def experiment_view(launch: LaunchState, trials: Sequence[TrialResult], *, metric: str, resume: str) -> Group:
    """The trials of an experiment, stage by stage; then what failed and how to go on: with the command `resume`."""
    kinds = [kind for kind in _KINDS if any(stage.kind == kind for trial in trials for stage in trial.stages)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", overflow="fold")
    for kind in kinds:
        table.add_column(kind, no_wrap=True)
    table.add_column(metric, justify="right", no_wrap=True)
    for trial in trials:
        cells = [_kind_text(trial, kind) for kind in kinds]
        score = number(trial.metrics[metric]) if metric in trial.metrics else ""
        table.add_row(Text(trial.name), *cells, score)
    return Group(
        _headline(launch, trials),
        table,
        *probe_tables(compare_trials(trials).cells),
        *_stopped(trials),
        *_failures(trials),
        *_advice(launch, resume),
    )


def _headline(launch: LaunchState, trials: Sequence[TrialResult]) -> Text:
    done = sum(trial.status == "finished" for trial in trials)
    text = Text.assemble((launch.experiment, "bold"), ": ", (launch.status, _STYLES[launch.status]))
    stopped = sum(trial.status == "stopped" for trial in trials)
    text.append(f", {done} of {numbered(len(trials), 'trial')} done, ")
    text.append(f"{stopped} stopped by successive halving, " if stopped else "")
    text.append(f"{duration(_seconds(trials))} of stages computed")
    text.append(f", started {moment(launch.began_at)}")
    return text


def _kind_text(trial: TrialResult, kind: str) -> Text:
    """Where a trial's stage of a kind stands; of several, rungs or parts up to a probe, the one it has come to."""
    stages = [stage for stage in trial.stages if stage.kind == kind]
    if not stages:
        return Text("-", "dim")
    begun = [stage for stage in stages if stage.status != "waiting"]
    stage = begun[-1] if begun else stages[-1]
    if stage is stages[-1]:
        return _stage_text(stage)
    part = f"epoch {stage.epoch}: " if kind in _PROBED else f"rung {stages.index(stage) + 1}: "
    return Text.assemble((part, _STYLES[stage.status]), _stage_text(stage))


def _stopped(trials: Sequence[TrialResult]) -> list[Text]:
    """Each cell that successive halving stopped, and why, once for all its seeds."""
    found = {trial.standing: None for trial in trials if trial.status == "stopped" and trial.standing}
    return [Text(f"{standing.cell}: {standing}") for standing in found]


def _stage_text(stage: StageState) -> Text:
    parts: list[str] = ["done" if stage.status == "finished" else stage.status]
    if stage.status in ("running", "interrupted", "failed") and stage.total_steps:
        parts.append(f"{100 * stage.step // stage.total_steps}%")
    if stage.seconds >= 0.5:
        parts.append(duration(stage.seconds))
    if stage.status == "running" and stage.total_steps and 0 < stage.step < stage.total_steps:
        left = stage.seconds * (stage.total_steps - stage.step) / stage.step
        parts.append(f"~{duration(left)} left")
    if stage.attempt > 1:
        parts.append(f"attempt {stage.attempt}")
    return Text(", ".join(parts), _STYLES[stage.status])


def _failures(trials: Sequence[TrialResult]) -> list[Text]:
    """Each failed stage once, however many trials wait for it."""
    failed = {stage.key: stage for trial in trials for stage in trial.stages if stage.status == "failed"}
    lines = []
    for stage in failed.values():
        reason = (stage.error or "no reason recorded").strip().splitlines()[-1]
        lines.append(Text.assemble((f"{stage.kind} {stage.key[:10]} failed: ", "red"), reason))
        if stage.log:
            lines.append(Text(f"  log: {stage.log}"))
    return lines


def _advice(launch: LaunchState, resume: str) -> list[Text]:
    if launch.status == "interrupted":
        quiet = duration(max(time.time() - launch.heard_at, 0.0))
        return [Text(f"The launch stopped before its end (last heard of {quiet} ago); `{resume}` goes on.")]
    if launch.status == "failed":
        return [Text(f"`{resume}` tries what failed once more; what is done is kept.")]
    return []


def _seconds(trials: Sequence[TrialResult]) -> float:
    """Compute time of all stages, each counted once."""
    return sum({stage.key: stage.seconds for trial in trials for stage in trial.stages}.values())
