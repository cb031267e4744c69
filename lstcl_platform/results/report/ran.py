"""What ran: every stage once, who shares it, how many attempts it took and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass

from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table, Tone, figure, text
from lstcl_platform.results.text import duration
from lstcl_platform.specs.wording import numbered

KINDS: Mapping[str, str] = {
    "pretrain": "pretraining",
    "probe": "probe",
    "finetune": "finetuning",
    "evaluate": "evaluation",
}
_TONES: Mapping[str, Tone] = {"finished": "good", "failed": "bad", "interrupted": "warn", "running": "warn"}


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over the stages of an experiment, each stage once.

    Attributes:
        stages: that have begun.
        wanted: that its trials need in all, each once.
        shared: that several trials use.
        attempts: starts of all of them.
        preemptions: attempts that gave way to one.
        seconds: that their attempts ran.
        worker_hours: the same times the training processes of each.
        saved_seconds: that the trials would have run besides, had each run its stages for itself.
    """

    stages: int
    wanted: int
    shared: int
    attempts: int
    preemptions: int
    seconds: float
    worker_hours: float
    saved_seconds: float


def totals(study: Study) -> Totals:
    """Sums for the head of the report and of the table."""
    uses: dict[str, int] = {}
    for trial in study.trials:
        for stage in trial.stages:
            uses[stage.key] = uses.get(stage.key, 0) + 1
    states = {key: record.state for key, record in study.stages.items()}
    workers = 1 if study.spec is None else study.spec.resources.workers
    seconds = sum(state.seconds for state in states.values())
    return Totals(
        stages=len(states),
        wanted=len(uses),
        shared=sum(count > 1 for count in uses.values()),
        attempts=sum(state.attempt for state in states.values()),
        preemptions=sum(record.preemptions for record in study.stages.values()),
        seconds=seconds,
        worker_hours=seconds * workers / 3600,
        saved_seconds=sum((uses[key] - 1) * state.seconds for key, state in states.items()),
    )


def stages_table(study: Study) -> Table:
    """One line a stage that has begun."""
    rows = []
    for kind, word in KINDS.items():
        for key, trials in study.trials_of(kind, "all").items():
            record = study.stages[key]
            state = record.state
            first = trials[0].name
            is_part = trials[0].final_stages[kind].key != key and state.epoch is not None
            standing = (
                state.status
                if state.total_steps is None
                else f"{state.status}, {state.step} of {numbered(state.total_steps, 'step')}"
            )
            notes = [note for note in (record.warning, state.error) if note]
            rows.append(
                [
                    text(f"{word}, epoch {state.epoch}" if is_part else word),
                    text(key[:10], code=True),
                    text(first if len(trials) == 1 else f"{first} and {len(trials) - 1} more"),
                    text(standing, tone=_TONES.get(state.status, "")),
                    figure(str(state.attempt)),
                    figure(str(record.preemptions)),
                    figure(duration(state.seconds)),
                    text("; ".join(_last_line(note) for note in notes) or "–"),
                ]
            )
    return Table(
        caption="Stages, each once",
        head=[
            "stage",
            "key",
            "trials that use it",
            "standing",
            "attempts",
            "preempted",
            "time",
            "last warning or error",
        ],
        rows=rows,
        row_heads=2,
        note="A stage whose key is found finished is never run again, in this study or in another.",
    )


def totals_line(found: Totals) -> str:
    """``begun: 12 of 18 stages, in 14 attempts...``"""
    parts = [
        f"begun: {found.stages} of {numbered(found.wanted, 'stage')}, in {numbered(found.attempts, 'attempt')}, "
        f"{found.preemptions} of which gave way to a preemption",
        f"{duration(found.seconds)} of stages, {found.worker_hours:.2f} worker-hours",
    ]
    if found.shared:
        parts.append(
            f"used by several trials: {numbered(found.shared, 'stage')}, which saved {duration(found.saved_seconds)}"
        )
    return "; ".join(parts) + "."


def _last_line(note: str) -> str:
    return note.strip().splitlines()[-1][:300]
