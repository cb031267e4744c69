"""How a launch looks: a live table on a terminal, plain lines elsewhere."""

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lstcl_platform.cli.terminal import is_quiet
from lstcl_platform.orchestration.progress import LaunchProgress, StageProgress, log_words
from lstcl_platform.results.text import duration
from lstcl_platform.specs.stages import TESTS
from lstcl_platform.specs.wording import numbered
from lstcl_platform.tracking.secrets import mask_text

SILENCE_SECONDS = 30.0
"""A running stage that says nothing for this long is called out; a step of the largest model takes a few seconds."""

_PLAIN_SECONDS = 10.0
_STYLES = {
    "failed": "red",
    "finished": "green",
    "cached": "dim",
    "running": "bold",
    "skipped": "yellow",
    "dropped": "dim",
}


def make_view(console: Console) -> "LiveView | PlainView":
    """A live view when `console` is a terminal, plain lines otherwise."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """One line when something changes, and one every ten seconds for each running stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, tuple[str, float]] = {}

    def message(self, text: str) -> None:
        """Print `text` with the time."""
        say(self._console, f"{time.strftime('%H:%M:%S')} {text}")

    def update(self, progress: LaunchProgress) -> None:
        """Print what changed."""
        now = time.monotonic()
        for stage in progress.stages.values():
            status, at = self._said.get(stage.key, ("waiting", now))
            if stage.status == status and not (stage.running and now - at >= _PLAIN_SECONDS):
                continue
            self._said[stage.key] = (stage.status, now)
            if stage.status != "cached":
                facts = " ".join(part for part in (_steps(stage), _figures(stage), _alarm(stage)) if part)
                self.message(f"{stage.kind} {stage.key[:10]} {stage.status} {facts} [{stage.label}]")

    def close(self) -> None:
        """Nothing to take down."""


class LiveView:
    """A table of all stages that is redrawn in place; messages scroll above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def message(self, text: str) -> None:
        """Print `text` above the table."""
        say(self._console, text)

    def update(self, progress: LaunchProgress) -> None:
        """Redraw."""
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        self._live.update(_table(progress))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _table(progress: LaunchProgress) -> Group:
    done = progress.count("finished", "cached")
    elapsed = duration(time.time() - progress.began_at)
    table = Table(
        title=f"{', '.join(progress.names)}: {done} of {numbered(len(progress.stages), 'stage')} done, {elapsed}"
    )
    for column in ("stage", "trial", "state", "step", "now", ""):
        table.add_column(column, no_wrap=column in ("stage", "state", "step"), overflow="fold")
    alarms = []
    for stage in progress.stages.values():
        style = _STYLES.get(stage.status, "")
        state = stage.status if stage.attempt <= 1 else f"{stage.status} (attempt {stage.attempt})"
        eta = stage.eta_seconds() if stage.running else None
        table.add_row(
            f"{stage.kind} {stage.key[:7]}",
            stage.label,
            Text(state, style=style),
            _steps(stage),
            _figures(stage),
            f"{duration(eta)} left" if eta is not None else "",
        )
        if alarm := _alarm(stage):
            alarms.append(Text(f"{stage.kind} {stage.key[:7]}: {alarm}", style="yellow"))
    return Group(table, *alarms)


def _steps(stage: StageProgress) -> str:
    return f"{stage.step}/{stage.total}" if stage.total and stage.status not in ("waiting", "cached") else ""


def _figures(stage: StageProgress) -> str:
    """The figures that matter now, in a few words."""
    metrics = stage.metrics
    if stage.kind in TESTS:
        shares = {"top1": "top-1", "knn_top1": "k-NN top-1", "linear_top1": "linear top-1"}
        return ", ".join(f"{word} {metrics[name]:.3f}" for name, word in shares.items() if name in metrics)
    parts = []
    if "loss" in metrics:
        parts.append(f"loss {metrics['loss']:.3f}")
    if stage.status == "running":
        if "samples_per_second" in metrics:
            parts.append(f"{metrics['samples_per_second']:.1f} samples/s")
        if "data_wait" in metrics:
            parts.append(f"waits for data {metrics['data_wait']:.0%}")
    return ", ".join(parts)


def _alarm(stage: StageProgress) -> str:
    if not stage.running:
        return ""
    rank, seconds = stage.silent()
    if seconds < SILENCE_SECONDS:
        return ""
    log = f"{stage.attempt_dir}/rank{rank}.log" if stage.attempt_dir else ""
    return f"no progress for {seconds:.0f} s (rank {rank}); {log_words(log)}"


def progress_console() -> Console:
    """Console on stderr for progress and hints: stdout is for results. Respects NO_COLOR, the width and --quiet."""
    return Console(file=sys.stderr, quiet=is_quiet())


def message_console() -> Console:
    """Console on stderr for what a person must know, --quiet or not."""
    return Console(file=sys.stderr)


def say(console: Console, text: str) -> None:
    """Print `text` on one line however long, since paths and commands are there to be copied; secrets are masked."""
    console.print(mask_text(text), highlight=False, markup=False, soft_wrap=True)
