"""Running stages on a Ray cluster: ingest (Data), training (Train), the stage graph (Tune), and the launch.

Ray reads its environment while it is imported, and every module of this package imports Ray: so the environment is set
here, before any of them. Values that the user set are kept. So is how often Python looks for garbage: a stage starts
about ten processes, and a fifth of the time of their imports went into looking through what they had just imported.
"""

import gc
import os

_OBJECTS_A_COLLECTION = 50_000
"""New objects until Python looks for cycles among them; its own 700 suit a program that imports little."""

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The controller notices the end of a stage on its poll; the default of 2 s is a third of a small stage's overhead.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune and Train set these two, to these values, in every process that they start.
    "PL_DISABLE_FORK": "1",
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
    # Processes that a later command starts must agree on this, or they hang on an invalid token.
    "RAY_AUTH_MODE": "token",
}

JOB_ENVIRONMENT = (
    "PL_DISABLE_FORK",
    "RAY_CHDIR_TO_TRIAL_DIR",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC",
)
"""Variables that Tune or Train put into the runtime environment of some of their processes. An idle process is given
only to an actor or task with an equal environment: with these in the job's, all processes of a launch can be reused."""

gc.set_threshold(_OBJECTS_A_COLLECTION, *gc.get_threshold()[1:])
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
