"""The tracking store of a study: `Tracker` is all that the platform knows of MLflow."""

from lstcl_platform.tracking.details import ComparedRuns, LaunchOrigin, StageRecord
from lstcl_platform.tracking.location import artifact_location, tracking_uri
from lstcl_platform.tracking.measured import MeasuredRuns, MeasuredStage
from lstcl_platform.tracking.records import (
    FinishedStage,
    LaunchRun,
    LaunchState,
    RecordedLaunch,
    StageRun,
    StageState,
    TrialResult,
)
from lstcl_platform.tracking.registry import Registry
from lstcl_platform.tracking.trained import TrainedWeights

__all__ = [
    "ComparedRuns",
    "FinishedStage",
    "LaunchOrigin",
    "LaunchRun",
    "LaunchState",
    "MeasuredStage",
    "RecordedLaunch",
    "StageRecord",
    "StageRun",
    "StageState",
    "Tracker",
    "TrainedWeights",
    "TrialResult",
    "artifact_location",
    "tracking_uri",
]


class Tracker(MeasuredRuns, Registry):
    """Stages, launches and trials in an MLflow store.

    The launch process is the only writer of a launch; several launches may share a store. Methods are
    synchronous and may be called from several threads. Opening takes seconds (MLflow's import): do it in a
    thread while Ray starts.

    Args:
        uri: MLflow tracking URI, see `tracking_uri`.
        artifact_location: where artifacts of new experiments go, see `artifact_location`.

    Raises:
        UserError: the store cannot be reached, or is no MLflow store of this version.
    """
