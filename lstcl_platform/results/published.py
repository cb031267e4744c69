"""What the paper prints for a cell of a study that repeats one of its figures or tables."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any

import yaml

from lstcl_platform.specs.experiment import Published, TrialSpec

TITLES: Mapping[Published, str] = {
    "figure2": "Figure 2: strides of the short and the long clip",
    "figure3": "Figure 3: contrastive frameworks",
    "figure4": "Figure 4: stride of finetuning and inference",
    "table1": "Table 1: strides drawn at random",
    "table2": "Table 2: how the two clips are sampled",
    "table3": "Table 3: architectures and where training starts",
    "table4": "Table 4: state of the art on Kinetics-400",
    "table5": "Table 5: state of the art on Kinetics-600",
    "table6": "Table 6: state of the art on Something-Something-V2",
}

FAMILIES: Mapping[str, str] = {"timesformer": "TimeSformer", "swin": "Swin", "st_swin": "ST Swin"}
"""Family of backbones -> how the paper writes it."""

FRAMEWORKS: Mapping[str, str] = {"byol": "BYOL", "moco_v3": "MoCo v3", "simsiam": "SimSiam"}
"""Kind of framework -> how the paper writes it."""

STARTS: Mapping[str, str] = {"scratch": "Scratch", "imagenet1k": "ImageNet-1K", "lstcl": "LSTCL"}
"""Where finetuning starts -> the columns of Table 3."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What the paper says of a cell.

    Attributes:
        row: the words of its row or point.
        values: metric -> value in [0, 1], as our metrics are.
        derived: how the value follows from what is printed, where it is not printed itself.
    """

    row: str
    values: Mapping[str, float]
    derived: str = ""


@cache
def printed_results() -> Mapping[str, Any]:
    """The package's `published_results.yaml`: top-1 and top-5 are percent."""
    text = files("lstcl_platform.results").joinpath("published_results.yaml").read_text(encoding="utf-8")
    content: Mapping[str, Any] = yaml.safe_load(text)
    return content


def printed_for(published: Published, spec: TrialSpec) -> Printed | None:
    """What the paper prints for the cell with settings `spec`, or None where it prints nothing.

    A cell is found by its role (strides, framework, family of the backbone, start), not by its size: a study at toy
    size has the same roles. A report says how far it is from the paper's.
    """
    return next((row.printed for row in _rows(published) if row.is_of(spec)), None)


def family_of(spec: TrialSpec) -> str:
    """``timesformer``, ``swin`` or ``st_swin``."""
    name = spec.model.name
    return "st_swin" if name.startswith("st_swin") else name.partition("_")[0]


def start_of(spec: TrialSpec) -> str:
    """``lstcl`` after self-supervised pretraining, ``imagenet1k`` from public weights, or ``scratch``."""
    if spec.pretrain is not None:
        return "lstcl"
    return "scratch" if spec.model.init is None else "imagenet1k"


def sota_rows(published: Published) -> list[tuple[Mapping[str, Any], Callable[[TrialSpec], bool] | None]]:
    """Rows of Tables 4 to 6 in the paper's order, with what tells one of our cells as that row; None for others'."""
    return [(row, _sota_match(row)) for row in printed_results()[published]]


@dataclass(frozen=True, kw_only=True)
class _Row:
    is_of: Callable[[TrialSpec], bool]
    printed: Printed


def _rows(published: Published) -> Iterator[_Row]:
    match published:
        case "figure2" | "figure3" | "figure4":
            yield from _default_points()
        case "table1":
            yield from _table1()
        case "table2":
            yield from _table2()
        case "table3":
            yield from _table3()
        case "table4" | "table5" | "table6":
            for row, is_of in sota_rows(published):
                if is_of is not None:
                    values = {name: row[name] / 100 for name in ("top1", "top5") if row[name] is not None}
                    text = f"{row['method']}, {row['clip']}"
                    yield _Row(is_of=is_of, printed=Printed(row=text, values=values))


def _default_points() -> Iterator[_Row]:
    """The two points of Figures 2 to 4 whose values the text gives: tau_S = 8, MoCo v3, finetuned at stride 8."""
    best, gain = printed_results()["figure2"]["best"], printed_results()["figure2"]["gain_over_equal_strides"]
    top1, rise = best["top1"], gain["top1"]
    points = {
        (best["short_stride"], best["long_stride"]): (top1, ""),
        (gain["short_stride"], gain["from_long"]): (top1 - rise, f"{top1} less the printed gain of {rise}"),
    }
    for strides, (value, derived) in points.items():
        row = f"short stride {strides[0]}, long stride {strides[1]}"
        printed = Printed(row=row, values={"top1": round(value / 100, 4)}, derived=derived)
        yield _Row(is_of=partial(_is_default_point, strides=strides), printed=printed)


def _table1() -> Iterator[_Row]:
    for row in printed_results()["table1"]:
        strides = (_as_tuple(row["short_stride"]), _as_tuple(row["long_stride"]))
        yield _Row(
            is_of=partial(_has_strides, strides=strides),
            printed=Printed(
                row=f"short {_in_braces(strides[0])}, long {_in_braces(strides[1])}",
                values={"top1": row["top1"] / 100},
            ),
        )


def _table2() -> Iterator[_Row]:
    for kind, top1 in printed_results()["table2"].items():
        yield _Row(
            is_of=partial(_is_sampled, kind=kind),
            printed=Printed(row=kind.replace("_", " "), values={"top1": top1 / 100}),
        )


def _table3() -> Iterator[_Row]:
    for family, starts in printed_results()["table3"].items():
        for start, top1 in starts.items():
            yield _Row(
                is_of=partial(_has_role, role=(family, start)),
                printed=Printed(row=f"{FAMILIES[family]}, {STARTS[start]}", values={"top1": top1 / 100}),
            )


_SOTA_ROLES: Mapping[str, tuple[str, str]] = {
    "TimeSformer-scratch": ("timesformer", "scratch"),
    "ST Swin from scratch": ("st_swin", "scratch"),
    "ST Swin w/ LSTCL": ("st_swin", "lstcl"),
}
"""Methods of Tables 4 to 6 that are this project's: family and start."""


def _sota_match(row: Mapping[str, Any]) -> Callable[[TrialSpec], bool] | None:
    role = _SOTA_ROLES.get(row["method"])
    if role is None:
        return None
    return partial(_has_role, role=role, frames=int(str(row["clip"]).partition("x")[0]))


def _has_role(spec: TrialSpec, *, role: tuple[str, str], frames: int | None = None) -> bool:
    return (family_of(spec), start_of(spec)) == role and frames in (None, spec.model.frames)


def _is_sampled(spec: TrialSpec, *, kind: str) -> bool:
    return spec.pretrain is not None and spec.pretrain.clips.sampling == kind


def _has_strides(spec: TrialSpec, *, strides: tuple[tuple[int, ...], tuple[int, ...]]) -> bool:
    return _strides(spec) == strides


def _is_default_point(spec: TrialSpec, *, strides: tuple[int, int]) -> bool:
    return (
        _strides(spec) == ((strides[0],), (strides[1],))
        and spec.pretrain is not None
        and spec.pretrain.framework.kind == "moco_v3"
        and spec.finetune.stride == 8
    )


def _strides(spec: TrialSpec) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if spec.pretrain is None:
        return None
    return spec.pretrain.clips.short_strides, spec.pretrain.clips.long_strides


def _as_tuple(value: int | list[int]) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _in_braces(strides: tuple[int, ...]) -> str:
    return str(strides[0]) if len(strides) == 1 else "{" + ", ".join(map(str, strides)) + "}"
