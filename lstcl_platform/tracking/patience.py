"""Tracking or storage that is away for minutes: who needs it waits and repeats, so nothing is lost or logged twice."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from lstcl_platform.tracking.secrets import mask_text

T = TypeVar("T")

_POLL_SECONDS = 0.5
_PAUSE_SECONDS = 10.0
"""Longest pause between two tries."""
_AWAY_CODES = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
_AWAY_CAUSES = ("OperationalError", "InterfaceError", "TimeoutError")
"""Errors by which SQLAlchemy says that a database is gone, locked, or has no connection left."""


class StoreAwayError(Exception):
    """Tracking or storage did not answer for longer than this launch waits; the message is for the user."""


class Patience:
    """How long a launch waits for its tracking store or its storage, and what it does meanwhile.

    Args:
        seconds: how long it may be away.
        tell: says something to the user.
        meanwhile: called about twice a second while waiting, in the thread that waits; True asks to give up soon.
    """

    def __init__(
        self,
        seconds: float,
        *,
        tell: Callable[[str], None] = lambda text: None,
        meanwhile: Callable[[], bool] = lambda: False,
    ) -> None:
        self.seconds = seconds
        self._tell = tell
        self._meanwhile = meanwhile
        self._gave_up: StoreAwayError | None = None

    def call(
        self,
        name: str,
        attempt: Callable[[bool], T],
        *,
        away: Callable[[BaseException], bool],
    ) -> T:
        """What `attempt` returns, tried until the store answers; its argument says whether it was tried before.

        Args:
            name: of the store, for messages.
            attempt: asks it.
            away: whether an error says that the store cannot be reached now, rather than that it refuses.

        Raises:
            StoreAwayError: the store was away too long, now or before: no further call waits again.
        """
        if self._gave_up is not None:
            raise self._gave_up
        began, pause, again = time.monotonic(), _POLL_SECONDS, False
        while True:
            try:
                answer = attempt(again)
            except Exception as error:
                if self.seconds <= 0 or not away(error):
                    raise
                if not again:
                    self._tell(
                        f"{name} does not answer ({_in_a_line(error)}): training goes on and what it logs is kept; "
                        f"the launch stops if this lasts {self.seconds / 60:g} minutes"
                    )
                again = True
                if self._waited(pause, until=began + self.seconds):
                    self._gave_up = StoreAwayError(
                        f"{name} has not answered for {time.monotonic() - began:.0f} s: "
                        f"{_in_a_line(error)}. Checkpoints hold what could not be logged: launch again once it is "
                        "back, and it is logged then."
                    )
                    raise self._gave_up from error
                pause = min(2 * pause, _PAUSE_SECONDS)
            else:
                if again:
                    self._tell(f"{name} answers again after {time.monotonic() - began:.0f} s")
                return answer

    def _waited(self, seconds: float, *, until: float) -> bool:
        """Wait for `seconds`; True when it is time to give up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._meanwhile() or time.monotonic() > until:
                return True
            time.sleep(_POLL_SECONDS)
        return False


class PatientClient:
    """An `MlflowClient` every call of which waits for a store that is away.

    A call is repeated with the very same arguments, timestamps included. MLflow stores equal points once, so a call
    whose answer got lost does no harm; only a run would be made twice, so it is looked for first.

    Args:
        client: MLflow's client.
        uri: its tracking URI, for messages.
        patience: how long to wait.
    """

    def __init__(self, client: Any, *, uri: str, patience: Patience) -> None:
        self._client = client
        self._name = f"MLflow at {mask_text(uri)}"
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return partial(self._call, method) if callable(method) else method

    def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self._patience.call(self._name, lambda again: method(*arguments, **named), away=is_away)

    def create_run(self, experiment_id: str, **named: Any) -> Any:
        """As MLflow's; after a failed try, a run of the same start and name is that try's."""
        began = int(time.time() * 1000)

        def attempt(again: bool) -> Any:
            if again:
                found = self._client.search_runs(
                    [experiment_id], filter_string=f"attributes.start_time = {began}"
                )
                for run in found:
                    if run.info.run_name == named.get("run_name"):
                        return run
            return self._client.create_run(experiment_id, start_time=began, **named)

        return self._patience.call(self._name, attempt, away=is_away)


def is_away(error: BaseException) -> bool:
    """Whether `error` says that the store cannot be reached now, rather than that it refuses."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    if isinstance(error, RequestException | ConnectionError):
        return True
    if not isinstance(error, MlflowException):
        return False
    cause = error.__cause__ or error.__context__
    return (
        getattr(error, "error_code", "") in _AWAY_CODES
        or isinstance(cause, RequestException | ConnectionError)
        or type(cause).__name__ in _AWAY_CAUSES
    )


def _in_a_line(error: BaseException) -> str:
    # A database's own words: SQLAlchemy puts its circumstances before them, on lines of their own.
    cause = error.__cause__ or error.__context__
    return (
        mask_text(str(getattr(cause, "orig", None) or error)).strip().partition("\n")[0][:300]
        or type(error).__name__
    )
