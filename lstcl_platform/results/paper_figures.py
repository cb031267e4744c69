"""The result of a study drawn as the paper draws it: Figure 2's panels, Figure 3's bars, Figure 4's curves."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lstcl_platform.results.compare import ComparedCell, Comparison
from lstcl_platform.results.drawing import (
    INK,
    MARKERS,
    PAPER,
    SERIES,
    Drawing,
    Mark,
    Panel,
)
from lstcl_platform.results.intervals import Interval, interval_of
from lstcl_platform.results.published import FRAMEWORKS, TITLES, printed_results
from lstcl_platform.results.text import is_share, metric_label, signed, value_text
from lstcl_platform.specs.experiment import Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOTE = "Bars: 95 % interval over seeds, or over test videos for a single seed."
_HOLLOW = " Hollow diamonds: the value the paper prints."


def result_drawing(comparison: Comparison, published: Published | None) -> Drawing | None:
    """The figure of one experiment's result, or None while no cell has the metric.

    With a repeated figure of the paper: that figure. Else the metric over tau_L in a panel for each tau_S where a
    grid sweeps both, and otherwise one row a cell, as for the tables.

    Args:
        comparison: of one experiment, with settings (`settings.with_settings`).
        published: what the experiment repeats.
    """
    cells = [cell for cell in comparison.cells if comparison.metric in cell.metrics]
    if not cells:
        return None
    if published == "figure3" and all(_role(cell, "framework") for cell in cells):
        return _frameworks(cells, comparison)
    if published == "figure4" and len(_lines(cells, ("short", "long"))) > 0:
        return _curves(cells, comparison)
    if published == "figure2" or (published is None and _is_stride_grid(cells)):
        drawn = _stride_panels(cells, comparison, published)
        if drawn is not None:
            return drawn
    return _rows(cells, comparison, published)


def interval_for(cell: ComparedCell, metric: str) -> Interval | None:
    """The 95 % interval of a cell's metric; a single seed's over its test videos, where the metric is a share."""
    videos = cell.metrics["videos"].values[0] if "videos" in cell.metrics else None
    share = is_share(metric)
    return interval_of(cell.metrics[metric], videos=int(videos) if videos and share else None)


def _role(cell: ComparedCell, name: str) -> Any:
    """A cell's stride or framework where it is one number or word, else None."""
    spec = cell.spec
    if spec is None or spec.pretrain is None:
        return None
    if name == "framework":
        return spec.pretrain.framework.kind
    if name == "finetune":
        return spec.finetune.stride if isinstance(spec.finetune.stride, int) else None
    strides = spec.pretrain.clips.short_strides if name == "short" else spec.pretrain.clips.long_strides
    return strides[0] if len(strides) == 1 else None


def _ticks(comparison: Comparison, role: str) -> list[int]:
    """The strides of all cells, finished or not, so that a figure keeps its axis while a sweep is running."""
    return sorted({found for cell in comparison.cells if (found := _role(cell, role)) is not None})


def _is_stride_grid(cells: Sequence[ComparedCell]) -> bool:
    """Whether nothing but the two strides tells the cells apart, and there are two long ones at least."""
    swept = {path.rsplit(".", 1)[-1] for cell in cells for path in cell.cell}
    return swept <= {"short_stride", "long_stride"} and len({_role(cell, "long") for cell in cells}) > 1


def _lines(cells: Sequence[ComparedCell], names: Sequence[str]) -> dict[tuple[Any, ...], list[ComparedCell]]:
    lines: dict[tuple[Any, ...], list[ComparedCell]] = {}
    for cell in cells:
        key = tuple(_role(cell, name) for name in names)
        if None not in key:
            lines.setdefault(key, []).append(cell)
    return dict(sorted(lines.items()))


def _stride_panels(
    cells: Sequence[ComparedCell], comparison: Comparison, published: Published | None
) -> Drawing | None:
    """Figure 2: for each tau_S a panel with the metric over tau_L."""
    rows = _lines([cell for cell in cells if _role(cell, "long") is not None], ("short",))
    if not rows:
        return None
    shown = [cell for members in rows.values() for cell in members]
    ticks = _ticks(comparison, "long")
    panels = []
    for number, ((short,), members) in enumerate(rows.items()):
        line = _line(members, "long", comparison.metric, number)
        title = f"short stride {short}"
        label = r"long stride $\tau_L$"
        panels.append(
            Panel(
                title=title,
                alt=_alt(title, members, comparison),
                draw=_axes_over(ticks, label, comparison, shown, [line]),
            )
        )
    title = TITLES["figure2"] if published == "figure2" else "Accuracy over the long stride"
    return Drawing(name=published or "strides", title=title, note=_note(shown), panels=panels)


def _curves(cells: Sequence[ComparedCell], comparison: Comparison) -> Drawing:
    """Figure 4: for each tau_S a panel with a curve for each tau_L over the stride of finetuning."""
    lines = _lines([cell for cell in cells if _role(cell, "finetune") is not None], ("short", "long"))
    shown = [cell for members in lines.values() for cell in members]
    ticks = _ticks(comparison, "finetune")
    longs = sorted({long for _, long in lines})
    panels = []
    for short in sorted({short for short, _ in lines}):
        members = {long: lines[short, long] for long in longs if (short, long) in lines}
        title = f"short stride {short}"
        drawn = [
            _line(each, "finetune", comparison.metric, longs.index(long)) for long, each in members.items()
        ]
        panels.append(
            Panel(
                title=title,
                alt=_alt(title, [cell for each in members.values() for cell in each], comparison),
                draw=_axes_over(ticks, r"stride $\tau$ of finetuning and testing", comparison, shown, drawn),
            )
        )
    legend = [
        Mark(label=f"long stride {long}", color=_color(number), marker=MARKERS[number % len(MARKERS)])
        for number, long in enumerate(longs)
    ]
    return Drawing(name="figure4", title=TITLES["figure4"], note=_note(shown), panels=panels, legend=legend)


def _frameworks(cells: Sequence[ComparedCell], comparison: Comparison) -> Drawing:
    """Figure 3: for each framework a bar for each tau_L, and the gain over them."""
    groups = _lines(cells, ("framework",))
    longs = sorted({_role(cell, "long") for cell in cells})
    metric, gains = comparison.metric, printed_results()["figure3"]

    def draw(axes: "Axes") -> None:
        width = 0.8 / len(longs)
        for place, members in enumerate(groups.values()):
            for cell in members:
                number = longs.index(_role(cell, "long"))
                x = place + (number - (len(longs) - 1) / 2) * width
                mean, error = _scaled(cell, metric)
                axes.bar(
                    x,
                    mean,
                    width * 0.92,
                    color=SERIES[(0, 4, 2, 3)[number % 4]],
                    yerr=error,
                    capsize=3,
                    ecolor=INK,
                )
                axes.annotate(
                    f"{mean:.1f}", (x, mean + (error[1][0] if error else 0)), xytext=(0, 3),
                    textcoords="offset points", ha="center", fontsize=8,
                )  # fmt: skip
                _diamond(axes, x, cell, metric)
        names = [FRAMEWORKS[kind] for (kind,) in groups]
        axes.set_xticks(range(len(groups)), names)
        axes.tick_params(axis="x", length=0)
        _vertical(axes, cells, metric, from_below=True)

    rises = [
        f"{FRAMEWORKS[kind]} {signed(members[-1].metrics[metric].mean - members[0].metrics[metric].mean, metric)} "
        f"(paper {gains[kind]:+.1f})"
        for (kind,), found in groups.items()
        if len(members := sorted(found, key=lambda cell: _role(cell, "long"))) > 1
    ]
    alt = _alt("Bars for each framework", cells, comparison)
    note = (
        f"{_note(cells)} Gain of the longer long clip, in points: {'; '.join(rises)}."
        if rises
        else _note(cells)
    )
    return Drawing(
        name="figure3",
        title=TITLES["figure3"],
        note=note,
        panels=[Panel(title="three frameworks", alt=alt, draw=draw, width=5.2, height=3.0)],
        legend=[
            Mark(label=f"long stride {long}", color=SERIES[(0, 4, 2, 3)[number % 4]], marker="s", dash="")
            for number, long in enumerate(longs)
        ],
    )


def _rows(cells: Sequence[ComparedCell], comparison: Comparison, published: Published | None) -> Drawing:
    """One row a cell: its mean with the interval, and the printed value."""
    metric = comparison.metric

    def draw(axes: "Axes") -> None:
        for row, cell in enumerate(cells):
            mean, error = _scaled(cell, metric)
            axes.errorbar(
                mean, row, xerr=error, marker="o", markersize=6, capsize=3, linestyle="", color=_color(0),
                markerfacecolor=_color(0) if cell.best else PAPER,
            )  # fmt: skip
            if (value := _printed(cell, metric)) is not None:
                axes.plot(value, row, marker="D", markersize=7, markerfacecolor="none", color=SERIES[1])
        axes.set_yticks(range(len(cells)), [_short(cell.name) for cell in cells])
        axes.set_ylim(len(cells) - 0.5, -0.5)
        axes.set_xlabel(metric_label(metric))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)

    title = "Cells side by side" if published is None else TITLES[published]
    alt = _alt("One row a cell", cells, comparison)
    panel = Panel(title=title, alt=alt, draw=draw, width=5.6, height=0.9 + 0.3 * len(cells))
    note = f"{_note(cells)} Filled: best mean."
    return Drawing(name=published or "cells", title=title, note=note, panels=[panel])


Line = tuple[str, list[ComparedCell], int]
"""Role on the horizontal axis, cells in its order, and number of the series."""


def _line(members: Sequence[ComparedCell], role: str, metric: str, number: int) -> Line:
    ordered = sorted((cell for cell in members if metric in cell.metrics), key=lambda cell: _role(cell, role))
    return role, ordered, number


def _axes_over(
    ticks: Sequence[int],
    label: str,
    comparison: Comparison,
    shown: Sequence[ComparedCell],
    lines: Sequence[Line],
) -> Callable[["Axes"], None]:
    """Draws lines over strides that are evenly spaced, with the same vertical range for all `shown`."""
    metric = comparison.metric

    def draw(axes: "Axes") -> None:
        for count, (role, cells, number) in enumerate(lines):
            shift = 0.05 * (count - (len(lines) - 1) / 2)
            places = [ticks.index(_role(cell, role)) + shift for cell in cells]
            scaled = [_scaled(cell, metric) for cell in cells]
            errors = [[error[side][0] if error else 0.0 for _, error in scaled] for side in (0, 1)]
            axes.errorbar(
                places, [mean for mean, _ in scaled], yerr=errors, color=_color(number), capsize=3, linewidth=1.5,
                marker=MARKERS[number % len(MARKERS)], markersize=5,
            )  # fmt: skip
            for place, cell in zip(places, cells, strict=True):
                _diamond(axes, place, cell, metric)
        axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        axes.set_xlim(-0.4, len(ticks) - 0.6)
        axes.set_xlabel(label)
        _vertical(axes, shown, metric)

    return draw


def _vertical(axes: "Axes", cells: Sequence[ComparedCell], metric: str, *, from_below: bool = False) -> None:
    """The same vertical range for all panels: that of all means, intervals and printed values."""
    ends: list[float] = []
    for cell in cells:
        mean, error = _scaled(cell, metric)
        ends += [mean] if error is None else [mean - error[0][0], mean + error[1][0]]
        ends += [value for value in [_printed(cell, metric)] if value is not None]
    low, high = min(ends), max(ends)
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    bottom = low - (2.5 if from_below else 1.0) * margin
    axes.set_ylim(max(bottom, 0.0) if low >= 0 else bottom, high + 1.6 * margin)
    axes.set_ylabel(metric_label(metric))
    axes.grid(axis="y")


def _diamond(axes: "Axes", x: float, cell: ComparedCell, metric: str) -> None:
    if (value := _printed(cell, metric)) is not None:
        axes.plot(x, value, marker="D", markersize=7, markerfacecolor="none", color=SERIES[1], zorder=4)


def _printed(cell: ComparedCell, metric: str) -> float | None:
    if cell.printed is None or metric not in cell.printed.values:
        return None
    return cell.printed.values[metric] * _scale(metric)


def _scale(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def _scaled(cell: ComparedCell, metric: str) -> tuple[float, list[list[float]] | None]:
    """Mean and the two lengths of its interval as matplotlib wants them, percent for shares."""
    scale, mean = _scale(metric), cell.metrics[metric].mean
    interval = interval_for(cell, metric)
    if interval is None:
        return mean * scale, None
    return mean * scale, [[(mean - interval.low) * scale], [(interval.high - mean) * scale]]


def _color(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:33]}…"


def _note(cells: Sequence[ComparedCell]) -> str:
    return _NOTE + (_HOLLOW if any(cell.printed is not None for cell in cells) else "")


def _alt(title: str, cells: Sequence[ComparedCell], comparison: Comparison) -> str:
    metric = comparison.metric
    parts = []
    for cell in cells:
        text = f"{cell.name} {value_text(cell.metrics[metric].mean, metric)}"
        if cell.printed is not None and metric in cell.printed.values:
            text += f" (paper {value_text(cell.printed.values[metric], metric)})"
        parts.append(text)
    return f"{title}, {metric_label(metric)}: {'; '.join(parts)}"
