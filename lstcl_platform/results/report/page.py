"""The report as one HTML file, and its figures as files beside it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstcl_platform import __version__
from lstcl_platform.results.compare import BASELINES
from lstcl_platform.results.drawing import VARIABLES, Drawing, inline_svg, save
from lstcl_platform.results.paper_figures import result_drawing
from lstcl_platform.results.published import TITLES
from lstcl_platform.results.report import (
    asked,
    bad_videos,
    classes,
    curves,
    halving,
    probes,
    ran,
    reproduce,
)
from lstcl_platform.results.report.outcome import cells_table
from lstcl_platform.results.report.paper_tables import Claim, claims, paper_table
from lstcl_platform.results.report.predicted import predicted_table
from lstcl_platform.results.report.predictions import class_names, read_predictions
from lstcl_platform.results.report.significance import pairs_of, significance_table
from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table
from lstcl_platform.results.text import duration, metric_label, signed, value_text
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.tracking.secrets import mask_text

if TYPE_CHECKING:
    from lstcl_platform.tracking.tracker import Tracker

_TEMPLATES = "templates"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with what is under it, in this order.

    Attributes:
        anchor: of its heading within the study.
        title: its heading.
        lines: paragraphs.
        warning: a paragraph that must not be missed.
        claims: the paper's statements, each with ours.
        drawings: figures.
        tables: tables.
        folded: texts behind a line that opens them: (line, text).
        unfolded: they are open to begin with.
    """

    anchor: str
    title: str
    lines: Sequence[str] = ()
    warning: str = ""
    claims: Sequence[Claim] = ()
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[tuple[str, str]] = ()
    unfolded: bool = False


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One experiment of the report."""

    study: Study
    facts: Sequence[tuple[str, str, str]]
    """What matters most: name, value, and a smaller line."""
    sections: Sequence[Section] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What it repeats, or its name."""
        return self.study.name if self.study.published is None else TITLES[self.study.published]

    @property
    def drawings(self) -> Iterator[Drawing]:
        """All figures."""
        for section in self.sections:
            yield from section.drawings


def write_report(
    tracker: "Tracker", studies: Sequence[Study], path: Path, *, figures: Path | None = None
) -> list[Path]:
    """Write the report of `studies` to `path`, and its figures as SVG and PNG below `figures` if that is given.

    Returns:
        The figure files.

    Raises:
        UserError: a file cannot be written.
    """
    chapters = [chapter_of(tracker, study) for study in studies]
    page = mask_text(render(chapters))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {path}: {error.strerror or error}") from error
    if figures is None:
        return []
    written = []
    for chapter in chapters:
        folder = figures / chapter.study.name if len(chapters) > 1 else figures
        for drawing in chapter.drawings:
            written += save(drawing, folder)
    return written


def chapter_of(tracker: "Tracker", study: Study) -> Chapter:
    """All sections of one experiment."""
    return Chapter(
        study=study,
        facts=_facts(study),
        sections=[
            *_results(study),
            *_tested(tracker, study),
            _asked(study),
            _ran(tracker, study),
            *_training(tracker, study),
            _bad_videos(tracker, study),
            _reproduce(study),
        ],
    )


def render(chapters: Sequence[Chapter]) -> str:
    """The HTML of `chapters`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("lstcl_platform.results.report", _TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    count = iter(range(1_000_000))

    def svg(panel: Any) -> Markup:
        # Drawn by this program, its texts escaped there.
        return Markup(inline_svg(panel, name=f"f{next(count)}"))

    style = loader.get_source(environment, "report.css")[0]
    machine = [_json_for_script(reproduce.machine_readable(chapter.study)) for chapter in chapters]
    return environment.get_template("report.html.j2").render(
        chapters=chapters,
        style=Markup(style),
        svg=svg,
        colors={color: f"var({name})" for color, name in VARIABLES.items()},
        machine=[Markup(text) for text in machine],
        written=time.strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
    )


def _json_for_script(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def _facts(study: Study) -> list[tuple[str, str, str]]:
    comparison, total = study.comparison, ran.totals(study)
    metric = comparison.metric
    cells = comparison.cells
    done = sum(cell.finished == len(cell.statuses) for cell in cells)
    facts = [
        (
            "cells done",
            f"{done} of {len(cells)}",
            f"{study.finished} of {numbered(len(study.trials), 'trial')}, {study.launch.status}",
        )
    ]
    leading = [cell for cell in cells if cell.best]
    if leading:
        best = leading[0]
        name = best.name if len(leading) == 1 else f"{numbered(len(leading), 'cell')} alike"
        facts.append((f"best {metric_label(metric)}", value_text(best.metrics[metric].mean, metric), name))
        if (found := comparison.delta(best)) is not None and best.printed is not None:
            facts.append(
                (
                    "against the paper",
                    signed(found, metric),
                    f"paper {value_text(best.printed.values[metric], metric)}",
                )
            )
    facts.append(("computed", duration(total.seconds), f"{total.worker_hours:.2f} worker-hours"))
    facts.append(("stages", f"{total.stages} of {total.wanted}", f"{total.shared} shared by several trials"))
    facts.append(("attempts", str(total.attempts), f"{total.preemptions} preempted"))
    return facts


def _results(study: Study) -> Iterator[Section]:
    comparison, published = study.comparison, study.published
    drawing = result_drawing(comparison, published)
    scale = asked.scale_warning(study)
    known = _without_learning(study)
    lines = [f"Without learning, top-1 accuracy (%): {known}."] if known else []
    if drawing is None:
        lines.append("No trial has finished yet.")
    tables = [] if published is None else [paper_table(comparison, published)]
    if warning := halving.halving_warning(study):
        yield Section(
            anchor="halving",
            title="Chosen by successive halving",
            warning=warning,
            tables=[halving.halving_table(study)],
        )
    yield Section(
        anchor="results",
        title="Results",
        lines=lines,
        warning=f"Not at the paper's scale: {scale}. The published values are shown for orientation."
        if scale
        else "",
        claims=[] if published is None else claims(comparison, published),
        drawings=[] if drawing is None else [drawing],
        tables=[*tables, cells_table(comparison)]
        if published in (None, "table3", "table4", "table5", "table6")
        else tables,
    )


def _without_learning(study: Study) -> str:
    values = study.comparison.baselines.get(study.name, {})
    return ", ".join(f"{BASELINES[name]} {value_text(value, 'top1')}" for name, value in values.items())


def _tested(tracker: "Tracker", study: Study) -> Iterator[Section]:
    cells, missing = read_predictions(tracker, study)
    if not cells:
        if missing:
            yield Section(anchor="significance", title="Significance", lines=missing)
        return
    if len(cells) > 1:
        pairs = pairs_of(cells, study.comparison)
        tables = [significance_table(pairs, study.comparison.metric)] if pairs else []
        lines = [] if pairs else ["The cells were tested on different videos, so they cannot be paired."]
        yield Section(
            anchor="significance", title="Is the difference real?", lines=[*lines, *missing], tables=tables
        )
    best = next((cell.name for cell in study.comparison.cells if cell.best), None)
    names = class_names(study, cells)
    lead = next((cell for cell in cells if cell.cell == best), cells[0])
    yield Section(
        anchor="classes",
        title="Classes",
        tables=[classes.per_class_table(cells, names, best=best), classes.confusion_table(lead, names)],
    )


def _asked(study: Study) -> Section:
    if study.spec is None or study.recorded is None:
        return Section(
            anchor="asked", title="What was asked", warning=f"The record cannot be read: {study.unreadable}"
        )
    return Section(
        anchor="asked",
        title="What was asked",
        lines=[study.spec.description] if study.spec.description else [],
        tables=[asked.sweep_table(study), asked.settings_table(study.spec), asked.data_table(study.spec)],
        folded=[
            ("As written (YAML)", mask_text(study.recorded.requested)),
            ("With every default filled in (YAML)", mask_text(study.recorded.resolved)),
        ],
    )


def _ran(tracker: "Tracker", study: Study) -> Section:
    predicted = predicted_table(study, tracker.prediction(study.launch.run_id))
    return Section(
        anchor="ran",
        title="What ran",
        lines=[ran.totals_line(ran.totals(study))],
        tables=[ran.stages_table(study), *([predicted] if predicted.rows else [])],
    )


def _training(tracker: "Tracker", study: Study) -> Iterator[Section]:
    cells = [cell.name for cell in study.comparison.cells]
    pretrained = curves.read_curves(tracker, study, "pretrain")
    finetuned = curves.read_curves(tracker, study, "finetune")
    drawings = [
        curves.curves_drawing(
            pretrained, curves.TRAINING["pretrain"], cells=cells, name="pretraining", title="Pretraining"
        ),
        curves.curves_drawing(
            finetuned, curves.TRAINING["finetune"], cells=cells, name="finetuning", title="Finetuning"
        ),
    ]
    probed = probes.probes_drawing(study.comparison.cells)
    if probed is not None:
        yield Section(
            anchor="probes",
            title=probed.title,
            drawings=[probed],
            tables=probes.probes_tables(study.comparison.cells),
        )
    if any(drawings):
        yield Section(anchor="curves", title="Training curves", drawings=[each for each in drawings if each])
    if pretrained:
        drawing = curves.curves_drawing(
            pretrained, curves.HEALTH, cells=cells, name="features", title="Feature health"
        )
        yield Section(
            anchor="features",
            title="Feature health",
            drawings=[drawing] if drawing else [],
            tables=[curves.health_table(pretrained)],
        )


def _bad_videos(tracker: "Tracker", study: Study) -> Section:
    table = bad_videos.bad_videos_table(tracker, study)
    none = "No bad video was met." if study.stages else "Nothing has run yet."
    return Section(
        anchor="bad-videos",
        title="Bad videos",
        lines=[] if table.rows else [none],
        tables=[table] if table.rows else [],
    )


def _reproduce(study: Study) -> Section:
    tables = [
        reproduce.origin_table(study),
        reproduce.data_table(study),
        reproduce.fingerprint_table(study),
        reproduce.seeds_table(study),
        reproduce.digests_table(study),
    ]
    return Section(
        anchor="reproduce",
        title="Do it again",
        tables=[table for table in tables if table.rows],
        folded=[("Commands", reproduce.commands(study))],
        unfolded=True,
    )
