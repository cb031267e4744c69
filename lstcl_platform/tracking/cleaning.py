"""What the stages of studies keep that neither going on nor a later stage needs any more."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from lstcl_platform import storage
from lstcl_platform.tracking.tracker import FinishedStage, Tracker
from lstcl_platform.training.checkpoints import CLAIM, checkpoint_folders, newest_good
from lstcl_platform.training.leases import Leases

Reason = Literal[
    "checkpoint of a finished stage", "older checkpoint", "unfinished write", "unrecorded result"
]

_PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class Superfluous:
    """Something that may go.

    Attributes:
        key: stage key.
        reason: why.
        location: path or URI.
        size: bytes.
    """

    key: str
    reason: Reason
    location: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What was found.

    Attributes:
        superfluous: what may go, or went.
        busy: stages that a launch runs now: nothing of theirs is touched.
        unknown: stages with attempts that this tracking store has never heard of: nothing of theirs is touched.
        unbegun: stages of which no attempt began before their launch ended; they keep nothing.
    """

    superfluous: tuple[Superfluous, ...]
    busy: tuple[str, ...]
    unknown: tuple[str, ...]
    unbegun: tuple[str, ...]


def clean(
    tracker: Tracker, train_dir: str, *, experiment: str | None = None, delete: bool = False
) -> Cleaning:
    """Find, and with `delete` remove, what no stage needs.

    A finished stage keeps its weights, predictions and logs; one that can go on keeps the newest checkpoint that is
    intact, and so does a rung of successive halving from which a cell may yet go on. The lease of an unfinished stage
    is held meanwhile, so no launch goes on from what is being removed.

    Args:
        tracker: knows what is finished.
        train_dir: folder or URI that holds a folder for each stage.
        experiment: look only at the stages of its newest launch.
        delete: remove what was found.

    Raises:
        UserError: no such experiment.
    """
    there = storage.list_names(train_dir)
    if experiment is not None:
        wanted = {stage.key for trial in tracker.trial_results(experiment) for stage in trial.stages}
        there = [key for key in there if key in wanted]
    known, finished = tracker.stage_runs(there), tracker.finished(there)
    awaited = _rungs_of_open_trials(tracker)
    found: list[Superfluous] = []
    busy: list[str] = []
    leases = Leases()
    try:
        for key in there:
            stage_dir = storage.join(train_dir, key)
            if key not in known:
                continue
            if leases.take(stage_dir) is not None:
                busy.append(key)
                continue
            stage = finished.get(key)
            of_stage = list(
                _of_finished(stage_dir, stage, checkpoint_stays=key in awaited)
                if stage
                else _of_unfinished(stage_dir, key)
            )
            for item in of_stage if delete else ():
                storage.delete_tree(item.location)
            found += of_stage
            leases.release(stage_dir)
    finally:
        leases.close()
    begun = {key: _has_begun(storage.join(train_dir, key)) for key in there if key not in known}
    return Cleaning(
        superfluous=tuple(found),
        busy=tuple(busy),
        unknown=tuple(key for key in begun if begun[key]),
        unbegun=tuple(key for key in begun if not begun[key]),
    )


def _has_begun(stage_dir: str) -> bool:
    """Whether an attempt has left more than its claim."""
    attempts = (storage.join(stage_dir, name) for name in _attempt_names(stage_dir))
    return any(set(storage.list_names(attempt)) - {CLAIM} for attempt in attempts)


def _rungs_of_open_trials(tracker: Tracker) -> set[str]:
    """Finished rungs of successive halving whose trial may yet go on from them, in the newest launches."""
    trials = [trial for name in tracker.experiments() for trial in tracker.trial_results(name)]
    return {
        stage.key
        for trial in trials
        if trial.status not in ("finished", "stopped")
        for stage in trial.stages
        if stage is not trial.final_stages[stage.kind]
    }


def _of_finished(stage_dir: str, stage: FinishedStage, *, checkpoint_stays: bool) -> Iterator[Superfluous]:
    if not checkpoint_stays:
        yield from _items(stage.key, "checkpoint of a finished stage", _checkpoints(stage_dir))
    results = [location for location in (stage.weights, stage.predictions) if location]
    kept = {storage.parent(storage.parent(storage.parent(location)[0])[0])[1] for location in results}
    for attempt in _attempt_names(stage_dir):
        if attempt not in kept and results:
            final = storage.join(stage_dir, attempt, "final")
            yield from _items(stage.key, "unrecorded result", [final] if storage.exists(final) else [])
    yield from _partials(stage_dir, stage.key)


def _of_unfinished(stage_dir: str, key: str) -> Iterator[Superfluous]:
    newest = newest_good(stage_dir)
    if newest is not None:
        # A damaged one that is newer goes too: it is of no use, and would be checked again by every launch.
        older = [folder for folder in _checkpoints(stage_dir) if folder != newest.uri]
        yield from _items(key, "older checkpoint", older)
    yield from _partials(stage_dir, key)


def _partials(stage_dir: str, key: str) -> Iterator[Superfluous]:
    for attempt in _attempt_names(stage_dir):
        folder = storage.join(stage_dir, attempt)
        places = [folder, storage.join(folder, "final")]
        litter = [
            storage.join(place, name)
            for place in places
            for name in storage.list_names(place)
            if name.endswith(_PARTIAL)
        ]
        yield from _items(key, "unfinished write", litter)


def _items(key: str, reason: Reason, locations: Iterable[str]) -> Iterator[Superfluous]:
    for location in locations:
        yield Superfluous(key=key, reason=reason, location=location, size=storage.size(location))


def _checkpoints(stage_dir: str) -> list[str]:
    return [uri for _, _, uri in checkpoint_folders(stage_dir)]


def _attempt_names(stage_dir: str) -> list[str]:
    return [name for name in storage.list_names(stage_dir) if name[:1] == "a" and name[1:].isdigit()]
