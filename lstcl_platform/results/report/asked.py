"""What was asked: the cells, the data, and every setting that is not the paper's."""

from typing import Any

from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table, text
from lstcl_platform.results.settings import WHERE_IT_RUNS, leaves
from lstcl_platform.results.text import json_text
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.tracking.secrets import mask

_NOT_SETTINGS = ("name", "description", "published", "sweep", *WHERE_IT_RUNS)


def settings_table(spec: ExperimentSpec) -> Table:
    """Settings common to all cells whose value is not the default, which is the paper's."""
    ours = _values(spec.model_dump(mode="json"))
    defaults = _values(TrialSpec(data=spec.data).model_dump(mode="json"))
    rows = []
    for field in dict.fromkeys([*ours, *defaults]):
        asked, default = ours.get(field), defaults.get(field)
        if asked != default and not field.startswith("data."):
            rows.append(
                [text(field, code=True), text(asked or "–", code=True), text(default or "–", code=True)]
            )
    return Table(
        caption="Settings that are not the paper's",
        head=["setting", "here", "paper, or default where it is silent"],
        rows=rows,
        note="Swept settings are in the cells. Where a stage runs (workers, storage) changes no result: left out.",
    )


def data_table(spec: ExperimentSpec) -> Table:
    """The videos: all fields of ``data``."""
    dump = mask(spec.data.model_dump(mode="json"))
    rows = [[text(field, code=True), text(json_text(value), code=True)] for field, value in leaves(dump)]
    return Table(caption="Data", head=["setting", "here"], rows=rows)


def sweep_table(study: Study) -> Table:
    """The axes of the grid, the cases beside it, and what was left out."""
    spec = study.spec
    rows = []
    if spec is not None:
        for path, values in spec.sweep.grid.items():
            rows.append([text("grid"), text(path, code=True), text(json_text(values), code=True)])
        for case in spec.sweep.cases:
            name = case.get("name", "")
            fields = {path: value for path, value in case.items() if path != "name"}
            shown = ", ".join(f"{path}: {json_text(value)}" for path, value in mask(fields).items())
            rows.append([text("case"), text(name), text(shown, code=True)])
        if spec.sweep.halving is not None:
            rule = json_text(spec.sweep.halving.model_dump(mode="json"))
            rows.append([text("halving"), text("cells ranked and stopped early"), text(rule, code=True)])
    for cell in study.excluded:
        rows.append([text("left out", tone="muted"), text(cell.name), text(cell.reason)])
    return Table(caption="The sweep", head=["kind", "what", "values or reason"], rows=rows, row_heads=2)


def scale_warning(study: Study) -> str:
    """In what the study is not the paper's, in a line; empty where nothing is or where it repeats nothing."""
    spec = study.spec
    if spec is None or spec.published is None:
        return ""
    ours, defaults = spec.model_dump(mode="json"), TrialSpec(data=spec.data).model_dump(mode="json")
    names = {cell.spec.model.name for cell in study.comparison.cells if cell.spec is not None}
    parts = [f"model {', '.join(sorted(names))}"] if any(not name.endswith("_base") for name in names) else []
    for path in (
        "model.image_size",
        "pretrain.epochs",
        "pretrain.batch_size",
        "finetune.epochs",
        "evaluate.clips",
    ):
        block, field = path.split(".")
        if ours[block] is not None and ours[block][field] != defaults[block][field]:
            parts.append(f"{path} {ours[block][field]} (paper {defaults[block][field]})")
    if spec.data.synthesize is not None:
        parts.insert(0, "synthetic videos")
    return ", ".join(parts)


def _values(dump: dict[str, Any]) -> dict[str, str]:
    kept = {name: value for name, value in dump.items() if name not in _NOT_SETTINGS}
    return {field: json_text(value) for field, value in leaves(mask(kept))}
