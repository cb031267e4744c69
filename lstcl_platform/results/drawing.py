"""Small figures: one panel inline as SVG that follows the page's light or dark, or all of them in a file."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstcl_platform.specs.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d8dee4", "#fefefe"
SERIES = ("#0072b2", "#c24a00", "#008060", "#b0478a", "#8a6100", "#3d7fb8", "#6e6e6e")
"""Told apart by people with any colour vision (Okabe, Ito), darkened to a contrast of 4.5 on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")

VARIABLES: Mapping[str, str] = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES)},
}
"""Colour of a figure -> CSS variable that stands for it in a page."""
_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_OPENING = re.compile(r"<svg[^>]*>")
_SIZE = re.compile(r' (?:width|height)="[^"]*"')
_NAMED = re.compile(r'(\bid="|href="#|url\(#)')


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what it shows, in a few words.
        alt: the same with its numbers, for who cannot see it.
        draw: draws it.
        width: inches at natural size.
        height: inches.
    """

    title: str
    alt: str
    draw: Callable[["Axes"], None]
    width: float = 3.5
    height: float = 2.5


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An entry of a legend: a name and how it is drawn."""

    label: str
    color: str
    marker: str = "o"
    dash: str = "-"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of one or more panels that share a legend.

    Attributes:
        name: for files, such as ``figure2``.
        title: heading.
        note: what the marks and bars mean.
        panels: in reading order.
        legend: what the colours mean; empty where the panels say it themselves.
    """

    name: str
    title: str
    note: str
    panels: Sequence[Panel]
    legend: Sequence[Mark] = ()


def inline_svg(panel: Panel, *, name: str) -> str:
    """`panel` as an SVG element for a page whose CSS variables (``--ink``, ``--series-0``...) colour it.

    Args:
        panel: what to draw.
        name: unique in the page; it keeps the ids of its parts apart from those of other figures.
    """
    with _style(salt=name):
        canvas = _canvas(panel.width, panel.height)
        panel.draw(canvas.add_subplot())
        text = _svg(canvas)
    text = _METADATA.sub("", _PROLOG.sub("", text))
    text = _OPENING.sub(lambda opening: _SIZE.sub("", opening[0]), text, count=1)
    text = _NAMED.sub(rf"\g<1>{name}-", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{_escaped(panel.alt)}" ', 1).strip()


def epoch_axis(axes: "Axes", label: str, *, last: float) -> None:
    """Let the horizontal axis run from 0 to the whole epoch that `last` is in, with ticks at whole epochs alone."""
    from matplotlib.ticker import MaxNLocator

    end = max(1, math.ceil(last))
    axes.set_xlim(0, end * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.set_xlabel(label)


def save(drawing: Drawing, folder: Path, *, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write all panels of `drawing` as one figure a format: ``<folder>/<name>.<format>``.

    Raises:
        UserError: a file cannot be written.
    """
    return [save_as(drawing, folder / f"{drawing.name}.{each}") for each in formats]


def save_as(drawing: Drawing, path: Path) -> Path:
    """Write all panels of `drawing` to `path` (.png, .pdf or .svg).

    Raises:
        UserError: it cannot be written, or is of another kind.
    """
    across = min(len(drawing.panels), 2)
    down = -(-len(drawing.panels) // across)
    width = across * max(panel.width for panel in drawing.panels)
    height = down * max(panel.height for panel in drawing.panels) + 0.35 + (0.3 if drawing.legend else 0.0)
    with _style(salt=drawing.name):
        canvas = _canvas(width, height, face="white")
        for number, panel in enumerate(drawing.panels):
            axes = canvas.add_subplot(down, across, number + 1)
            panel.draw(axes)
            if len(drawing.panels) > 1:
                axes.set_title(panel.title, fontsize=9, loc="left", color=MUTED)
        canvas.suptitle(drawing.title, x=0.01, ha="left", fontsize=10)
        if drawing.legend:
            _legend(canvas, drawing.legend)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            canvas.savefig(path, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise UserError(f"figure {path}: {error}") from error
    return path


def _legend(canvas: "Canvas", marks: Sequence[Mark]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=mark.color, marker=mark.marker, linestyle=mark.dash, label=mark.label, markersize=4
        )
        for mark in marks
    ]
    canvas.legend(
        handles=handles, loc="outside lower left", ncols=min(len(marks), 4), frameon=False, fontsize=8
    )


@contextmanager
def _style(*, salt: str) -> Iterator[None]:
    import matplotlib as mpl

    settings: dict[str, Any] = {
        "font.size": 9,
        "svg.fonttype": "path",
        "svg.hashsalt": salt,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.labelsize": 9,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
    }
    with mpl.rc_context(settings):
        yield


def _canvas(width: float, height: float, *, face: str = "none") -> "Canvas":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(width, height), layout="constrained", facecolor=face)
    FigureCanvasAgg(canvas)
    return canvas


def _svg(canvas: "Canvas") -> str:
    text = StringIO()
    canvas.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
