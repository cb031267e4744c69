"""Tables 1 to 6 of the paper with our values in them, and the claims that the text makes of its figures."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from lstcl_platform.results.compare import ComparedCell, Comparison
from lstcl_platform.results.published import (
    FAMILIES,
    FRAMEWORKS,
    STARTS,
    TITLES,
    family_of,
    printed_results,
    sota_rows,
    start_of,
)
from lstcl_platform.results.report.outcome import delta, ours, outcome_cells, outcome_head, seeds
from lstcl_platform.results.report.table import NOTHING, Cell, Table, figure, text
from lstcl_platform.results.text import metric_label, signed, value_text
from lstcl_platform.specs.experiment import Published


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the paper says of a figure, and whether it is so here.

    Attributes:
        says: the paper's claim.
        holds: whether ours agree; None while too little is finished.
        ours: the numbers that say so.
    """

    says: str
    holds: bool | None
    ours: str


def paper_table(comparison: Comparison, published: Published) -> Table:
    """The table that the paper prints, or for a figure its points, with ours beside.

    Args:
        comparison: of one experiment, with settings.
        published: which figure or table.
    """
    match published:
        case "figure2" | "table1":
            return _listed(comparison, published, ("short stride", "long stride"))
        case "figure3":
            return _listed(comparison, published, ("framework", "long stride"))
        case "figure4":
            return _listed(comparison, published, ("short stride", "long stride", "finetuning stride"))
        case "table2":
            return _listed(comparison, published, ("sampling",))
        case "table3":
            return _table3(comparison)
        case "table4" | "table5" | "table6":
            return _state_of_the_art(comparison, published)


def claims(comparison: Comparison, published: Published) -> list[Claim]:
    """The statements about the figure in the paper's text, each with ours; none for the tables."""
    match published:
        case "figure2":
            return [*_monotone(comparison), *_best_strides(comparison)]
        case "figure3":
            return _gains(comparison)
        case "figure4":
            return _best_finetuning(comparison)
        case _:
            return []


def _listed(comparison: Comparison, published: Published, names: Sequence[str]) -> Table:
    rows = []
    for cell in comparison.cells:
        roles = [_role(cell, name) for name in names]
        rows.append([*map(text, roles), *outcome_cells(cell, comparison)])
    return Table(
        caption=f"{TITLES[published]}: {metric_label(comparison.metric)}",
        head=[*names, *outcome_head(comparison)],
        rows=rows,
        row_heads=len(names),
        note="★ best mean. – in the column of the paper: the paper prints no value for the cell."
        if published.startswith("figure")
        else "★ best mean.",
    )


def _role(cell: ComparedCell, name: str) -> str:
    spec = cell.spec
    if spec is None:
        return cell.name
    if name == "finetuning stride":
        return str(spec.finetune.stride)
    if spec.pretrain is None:
        return "scratch"
    clips = spec.pretrain.clips
    match name:
        case "framework":
            return FRAMEWORKS[spec.pretrain.framework.kind]
        case "sampling":
            return clips.sampling.replace("_", " ")
        case "short stride":
            return _set(clips.short_strides)
        case _:
            return _set(clips.long_strides)


def _set(strides: tuple[int, ...]) -> str:
    return str(strides[0]) if len(strides) == 1 else "{" + ", ".join(map(str, strides)) + "}"


def _table3(comparison: Comparison) -> Table:
    """Architectures by where training starts; in each place ours, the paper's and the difference."""
    placed = {
        (family_of(cell.spec), start_of(cell.spec)): cell
        for cell in comparison.cells
        if cell.spec is not None
    }
    rows = []
    for family, starts in printed_results()["table3"].items():
        row = [text(FAMILIES[family])]
        for start in STARTS:
            cell = placed.get((family, start))
            paper = starts[start] / 100
            mine = ours(cell, comparison, comparison.metric)
            notes = [f"paper {value_text(paper, 'top1')}"]
            if cell is not None:
                found = comparison.delta(cell)
                notes += [] if found is None else [f"difference {signed(found, 'top1')}"]
                notes += [f"seeds {seeds(cell).text}"]
            row.append(Cell(text=mine.text, notes=(*mine.notes, *notes), tone=mine.tone, number=True))
        rows.append(row)
    return Table(
        caption=f"{TITLES['table3']}: {metric_label(comparison.metric)}",
        head=["model", *STARTS.values()],
        rows=rows,
        note="In each place: ours, and below it the paper's. ★ best mean.",
    )


def _state_of_the_art(comparison: Comparison, published: Published) -> Table:
    """All rows of the paper's table; ours beside those of its own models."""
    rows = []
    for row, is_of in sota_rows(published):
        cell = next(
            (cell for cell in comparison.cells if is_of and cell.spec is not None and is_of(cell.spec)), None
        )
        mine = (
            [NOTHING] * 4
            if cell is None
            else [
                ours(cell, comparison, "top1"),
                delta(cell, comparison),
                ours(cell, comparison, "top5"),
                seeds(cell),
            ]
        )
        paper = [
            figure(f"{row[name]:.1f}") if row[name] is not None else NOTHING for name in ("top1", "top5")
        ]
        costs = [
            figure(str(row[name])) if row.get(name) is not None else NOTHING
            for name in ("tflops", "params")
            if "tflops" in row
        ]
        extra = [text(row["pretraining"] or "–")] if "pretraining" in row else []
        rows.append(
            [text(row["method"]), text(row["clip"]), text(row["extra"] or "–"), *extra, *paper, *costs, *mine]
        )
    first = printed_results()[published][0]
    pretraining = ["pretraining"] if "pretraining" in first else []
    costs_head = ["TFLOPs", "params (M)"] if "tflops" in first else []
    head = ["method", "clip", "extra data", *pretraining, "paper top-1", "paper top-5", *costs_head]
    return Table(
        caption=TITLES[published],
        head=[*head, "our top-1", "ours − paper", "our top-5", "seeds"],
        rows=rows,
        note="Other groups' rows are as the paper prints them. TFLOPs mix conventions there: TimeSformer's count "
        "attention's products over 3 views, Swin's do not over 5; `lstcl-platform compare --cost` counts both.",
    )


def _strides(cell: ComparedCell) -> tuple[int, int] | None:
    if cell.spec is None or cell.spec.pretrain is None:
        return None
    clips = cell.spec.pretrain.clips
    short, long = clips.short_strides, clips.long_strides
    return (short[0], long[0]) if len(short) == len(long) == 1 else None


def _means(comparison: Comparison) -> list[tuple[ComparedCell, float]]:
    metric = comparison.metric
    return [(cell, cell.metrics[metric].mean) for cell in comparison.cells if metric in cell.metrics]


def _monotone(comparison: Comparison) -> list[Claim]:
    rows: dict[int, dict[int, float]] = {}
    for cell, mean in _means(comparison):
        if (strides := _strides(cell)) is not None:
            rows.setdefault(strides[0], {})[strides[1]] = mean
    told = []
    for short, values in sorted(rows.items()):
        if len(values) > 1:
            line = [values[long] for long in sorted(values)]
            shown = " → ".join(value_text(value, comparison.metric) for value in line)
            told.append((all(a < b for a, b in itertools.pairwise(line)), f"short {short}: {shown}"))
    return [
        Claim(
            says="For each short stride, accuracy rises with the long stride.",
            holds=all(rises for rises, _ in told) if told and _complete(comparison) else None,
            ours="; ".join(text_ for _, text_ in told) or "not enough cells yet",
        )
    ]


def _best_strides(comparison: Comparison) -> list[Claim]:
    best = next((cell for cell in comparison.cells if cell.best), None)
    strides = None if best is None else _strides(best)
    said = printed_results()["figure2"]["best"]
    wanted = (said["short_stride"], said["long_stride"])
    return [
        Claim(
            says=f"Short stride {wanted[0]} with long stride {wanted[1]} is best, with {said['top1']}.",
            holds=strides == wanted if strides and _complete(comparison) else None,
            ours="not enough cells yet"
            if best is None
            else f"best: {best.name}, {value_text(best.metrics[comparison.metric].mean, comparison.metric)}",
        )
    ]


def _gains(comparison: Comparison) -> list[Claim]:
    found: dict[str, dict[int, float]] = {}
    for cell, mean in _means(comparison):
        strides = _strides(cell)
        if strides is not None and cell.spec is not None and cell.spec.pretrain is not None:
            found.setdefault(cell.spec.pretrain.framework.kind, {})[strides[1]] = mean
    claims_ = []
    for kind, gain in printed_results()["figure3"].items():
        values = found.get(kind, {})
        rise = values[max(values)] - values[min(values)] if len(values) > 1 else None
        claims_.append(
            Claim(
                says=f"A longer long clip helps under {FRAMEWORKS[kind]}, by {gain:.1f} points.",
                holds=None if rise is None else rise > 0,
                ours="not enough cells yet"
                if rise is None
                else f"gain here {signed(rise, comparison.metric)}, paper {gain:+.1f}, "
                f"difference {signed(rise - gain / 100, comparison.metric)}",
            )
        )
    return claims_


def _best_finetuning(comparison: Comparison) -> list[Claim]:
    rows: dict[tuple[int, int], dict[int, float]] = {}
    for cell, mean in _means(comparison):
        strides = _strides(cell)
        if strides is not None and cell.spec is not None and isinstance(cell.spec.finetune.stride, int):
            rows.setdefault(strides, {})[cell.spec.finetune.stride] = mean
    best = {strides: max(values, key=lambda stride: values[stride]) for strides, values in rows.items()}
    return [
        Claim(
            says="Finetuning stride 8 is best for every pair of strides.",
            holds=all(stride == 8 for stride in best.values()) if best and _complete(comparison) else None,
            ours="; ".join(f"({short}, {long}): {stride}" for (short, long), stride in sorted(best.items()))
            or "not enough cells yet",
        )
    ]


def _complete(comparison: Comparison) -> bool:
    return all(cell.finished == len(cell.statuses) for cell in comparison.cells)
