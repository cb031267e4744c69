"""Figures of a comparison (matplotlib, no display needed)."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstcl_platform.results.compare import BASELINES, ComparedCell, Comparison
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_METRIC_LABELS = {"top1": "top-1 accuracy (%)", "top5": "top-5 accuracy (%)"}
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MAX_FLAT = 2
_LEGEND_CHARACTERS = 100
_NAME_CHARACTERS = 44
_TITLE_CHARACTERS = 84


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Write a figure of `comparison` to `path` (.png, .pdf or .svg).

    With a swept ``long_stride``: the metric over tau_L with one line for each tau_S, as the paper's Figure 2;
    one or two cells without it (training from scratch) are dashed lines. Otherwise one bar a cell. Error bars
    are the standard deviation over seeds.

    Raises:
        UserError: no trial has finished yet, or `path` cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = [cell for cell in comparison.cells if comparison.metric in cell.metrics]
    if not cells:
        raise UserError(f"--plot: no finished trial of {', '.join(comparison.experiments)} yet")
    swept = [cell for cell in cells if _swept(cell, "long_stride") is not None]
    flat = [cell for cell in cells if cell not in swept]
    as_lines = len({_swept(cell, "long_stride") for cell in swept}) > 1 and len(flat) <= _MAX_FLAT
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        height = 4.4 if as_lines else 2.0 + 0.42 * len(cells)
        figure = Figure(figsize=(7.2, height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if as_lines:
            _plot_strides(axes, comparison, swept, flat)
        else:
            _plot_bars(axes, comparison, cells)
        figure.suptitle(_title(comparison, cells), x=0.01, ha="left", fontsize=10)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise UserError(f"--plot {path}: {error}") from error


def _plot_strides(
    axes: "Axes", comparison: Comparison, swept: Sequence[ComparedCell], flat: Sequence[ComparedCell]
) -> None:
    scale = _scale(comparison.metric)
    several = len(comparison.experiments) > 1
    lines: dict[str, list[ComparedCell]] = {}
    for cell in swept:
        lines.setdefault(_line_label(cell, several=several), []).append(cell)
    for index, (label, members) in enumerate(lines.items()):
        members.sort(key=lambda cell: float(_swept(cell, "long_stride")))
        # Lines that share a stride would hide one another's error bars.
        shift = 2 ** (0.035 * (index - (len(lines) - 1) / 2))
        summaries = [cell.metrics[comparison.metric] for cell in members]
        axes.errorbar(
            [float(_swept(cell, "long_stride")) * shift for cell in members],
            [summary.mean * scale for summary in summaries],
            yerr=[(summary.sd or 0.0) * scale for summary in summaries],
            label=label,
            color=_COLORS[index % len(_COLORS)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=5,
            capsize=3,
            linewidth=1.5,
        )
    for index, cell in enumerate(flat):
        summary = cell.metrics[comparison.metric]
        color = ("#222222", "#7f7f7f")[index % 2]
        label = f"{cell.experiment}: {cell.name}" if several else cell.name
        axes.axhline(summary.mean * scale, color=color, linestyle="--", linewidth=1.2, label=label)
        if summary.sd:
            low, high = summary.mean - summary.sd, summary.mean + summary.sd
            axes.axhspan(low * scale, high * scale, color=color, alpha=0.10, linewidth=0)
    _draw_baselines(axes, comparison, vertical=False)
    strides = sorted({float(_swept(cell, "long_stride")) for cell in swept})
    axes.set_xscale("log", base=2)
    axes.set_xticks(strides, [f"{stride:g}" for stride in strides])
    axes.minorticks_off()
    axes.set_xlim(strides[0] / 1.15, strides[-1] * 1.15)
    axes.set_xlabel(r"long stride $\tau_L$ (frames between two frames of the long clip)")
    axes.set_ylabel(_METRIC_LABELS.get(comparison.metric, comparison.metric))
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    _legend(axes)


def _plot_bars(axes: "Axes", comparison: Comparison, cells: Sequence[ComparedCell]) -> None:
    scale = _scale(comparison.metric)
    several = len(comparison.experiments) > 1
    summaries = [cell.metrics[comparison.metric] for cell in cells]
    rows = range(len(cells))
    axes.barh(
        rows,
        [summary.mean * scale for summary in summaries],
        xerr=[(summary.sd or 0.0) * scale for summary in summaries],
        color=[_COLORS[0] if cell.best else "#9bbcd1" for cell in cells],
        height=0.62,
        capsize=3,
        error_kw={"linewidth": 1.2},
    )
    for row, summary in zip(rows, summaries, strict=True):
        end = (summary.mean + (summary.sd or 0.0)) * scale
        text = f"{summary.mean * scale:.{1 if scale == 100 else 3}f}"
        axes.annotate(text, (end, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    names = [f"{cell.experiment}: {cell.name}" if several else cell.name for cell in cells]
    axes.set_yticks(rows, [textwrap.fill(name, _NAME_CHARACTERS) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _draw_baselines(axes, comparison, vertical=True)
    axes.set_xlabel(_METRIC_LABELS.get(comparison.metric, comparison.metric))
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    if axes.lines:
        _legend(axes)


def _draw_baselines(axes: "Axes", comparison: Comparison, *, vertical: bool) -> None:
    """Dotted lines at what no learning scores, where that does not squeeze the cells into a corner."""
    low, high = axes.get_xlim() if vertical else axes.get_ylim()
    for (name, value), color in zip(_baselines(comparison).items(), ("#888888", "#b58900"), strict=False):
        if low - 0.5 * (high - low) <= value * 100 <= high:
            draw = axes.axvline if vertical else axes.axhline
            draw(value * 100, color=color, linestyle=":", linewidth=1.5, label=BASELINES[name])


def _baselines(comparison: Comparison) -> Mapping[str, float]:
    if comparison.metric != "top1" or len(comparison.experiments) > 1:
        return {}
    return comparison.baselines.get(comparison.experiments[0], {})


def _swept(cell: ComparedCell, field: str) -> Any:
    """The swept value of `field` (last part of its path) if it is a single number, else None."""
    for path, value in cell.cell.items():
        if path.rsplit(".", 1)[-1] == field and isinstance(value, int | float):
            return value
    return None


def _line_label(cell: ComparedCell, *, several: bool) -> str:
    kept = [part for part in cell.name.split(" ") if part.split("=")[0] not in ("short", "long")]
    short = _swept(cell, "short_stride")
    parts = [] if short is None else [rf"$\tau_S$ = {short:g}"]
    return ", ".join([cell.experiment] * several + parts + kept) or "LSTCL"


def _scale(metric: str) -> float:
    return 100.0 if metric in _METRIC_LABELS else 1.0


def _title(comparison: Comparison, cells: Sequence[ComparedCell]) -> str:
    counts = sorted({len(cell.metrics[comparison.metric].values) for cell in cells})
    seeds = numbered(counts[-1], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    shown = "" if counts == [1] else ", mean and standard deviation"
    title = f"{', '.join(comparison.experiments)}: {seeds}{shown}"
    known = [f"{BASELINES[name]} {value * 100:.1f}" for name, value in _baselines(comparison).items()]
    if not known:
        return title
    return "\n".join([title, *textwrap.wrap(f"without learning: {', '.join(known)}", _TITLE_CHARACTERS)])


def _legend(axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    # Lines with error bars come last from matplotlib; the cells belong before what they are compared to.
    order = sorted(range(len(labels)), key=lambda index: hasattr(handles[index], "get_color"))
    one_row = sum(len(label) + 8 for label in labels) <= _LEGEND_CHARACTERS
    axes.figure.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="outside lower left",
        ncols=len(labels) if one_row else 3,
        frameon=False,
        fontsize=9,
    )
