"""The command line: one visible table of commands, and what a wrong input looks like."""

import inspect
import sys
from typing import Annotated

import typer

from lstcl_platform.cli import (
    check,
    clean,
    control,
    doctor,
    embed,
    export,
    launch,
    plan,
    predict,
    prepare,
    report,
    results,
    show,
    synthesize,
)
from lstcl_platform.cli.bench import bench_app
from lstcl_platform.cli.bench_step import step
from lstcl_platform.cli.data import data_app
from lstcl_platform.cli.terminal import be_quiet
from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.tracking.secrets import mask_text

app = typer.Typer(
    name="lstcl-platform",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def everywhere(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", envvar="LSTCL_QUIET", help="No progress and no hints: results and errors only."
        ),
    ] = False,
) -> None:
    """Self-supervised video pretraining studies on Ray: one YAML file from raw video to compared results.

    Results go to stdout, progress and hints to stderr. NO_COLOR=1 turns colours off.
    """
    be_quiet(quiet)


app.command("launch")(launch.launch)
app.command("plan")(plan.plan)
app.command("resume")(control.resume)
app.command("status")(results.status)
app.command("stop")(control.stop)
app.command("logs")(control.logs)
app.command("clean")(clean.clean)
app.command("doctor")(doctor.doctor)
app.command("compare")(results.compare)
app.command("report")(report.report)
app.command("predict")(predict.predict)
app.command("embed")(embed.embed)
app.command("export")(export.export)
app.command("schema")(plan.schema)
data_app.command("check")(check.check)
data_app.command("show")(show.show)
data_app.command("prepare")(prepare.prepare)
data_app.command("synthesize")(synthesize.synthesize)
app.add_typer(data_app, name="data")
bench_app.command("step")(step)
app.add_typer(bench_app, name="bench")

for registered in (info for table in (app, data_app, bench_app) for info in table.registered_commands):
    # A docstring ends its lines for who reads the code; a terminal has a width of its own.
    paragraphs = inspect.cleandoc(inspect.getdoc(registered.callback) or "").split("\n\n")
    registered.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 a stage failed or storage did, 2 wrong input, 130 interrupted."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {mask_text(str(error))}", err=True)
        sys.exit(2)
    except StorageError as error:
        typer.echo(f"error: {mask_text(str(error))}", err=True)
        sys.exit(1)
