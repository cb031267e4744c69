"""From MLflow runs to the records that the rest of the platform reads."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lstcl_platform.specs.halving import Standing
from lstcl_platform.specs.stages import StageGraph, Trial
from lstcl_platform.tracking.records import StageState, Status, TrialResult
from lstcl_platform.tracking.secrets import mask_text
from lstcl_platform.tracking.stage_runs import RUN_STATES

STANDING = "lstcl.halving"
"""Tag of a trial: where its cell stood when successive halving last ranked it."""
PROBES = "probe/"
"""What the metrics of a trial begin with that are curves of its probes over epochs of pretraining (MLflow's step)."""


def chain_of(graph: StageGraph, trial: Trial) -> tuple[str, ...]:
    """Stage keys of `trial`, in order."""
    return graph.chains[f"{trial.experiment}/{trial.name}"]


def trial_result(
    experiment: str, run: Any, *, chain: Mapping[str, str], known: Mapping[str, StageState], alive: bool
) -> TrialResult:
    """The record of a trial run.

    Args:
        experiment: name of the experiment.
        run: MLflow run of the trial.
        chain: its stage keys in order, with the kind of each.
        known: the stages that have begun.
        alive: its launch is running; if not, nothing of it runs either.
    """
    stages = []
    for key, kind in chain.items():
        state = known.get(key, StageState(key=key, kind=kind, run_id=None, status="waiting"))
        if state.status == "running" and not alive:
            state = replace(state, status="interrupted")
        stages.append(state)
    standing = None
    if text := run.data.tags.get(STANDING):
        standing = Standing(**json.loads(text))
    status = RUN_STATES[run.info.status]
    if status == "interrupted" and standing is not None and not standing.goes_on:
        status = "stopped"
    if status in ("waiting", "running"):
        status = _from_stages([state.status for state in stages])
    return TrialResult(
        experiment=experiment,
        name=run.data.tags.get("lstcl.trial", ""),
        run_id=run.info.run_id,
        cell=json.loads(run.data.tags.get("lstcl.cell", "{}")),
        metrics={name: value for name, value in run.data.metrics.items() if not name.startswith(PROBES)},
        status=status,
        stages=tuple(stages),
        standing=standing,
    )


def unknown_experiment(name: str, known: Sequence[str], *, store: str) -> str:
    """Message for an experiment that the store does not have: the nearest name, or all of them."""
    if not known:
        return f"no experiment {name!r}: nothing was launched into {mask_text(store)} yet"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return f"no experiment {name!r} in {mask_text(store)}; {hint}"


def _from_stages(statuses: Sequence[Status]) -> Status:
    # The launch closes the trial's own run, so this is for a trial that is open, or whose launch was killed.
    for status in ("failed", "running", "interrupted"):
        if status in statuses:
            return status
    return "waiting"
