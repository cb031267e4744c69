"""`predict`: what a trained model sees in videos."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstcl_platform.cli.results import Format, Storage, TrackingUri
from lstcl_platform.cli.terminal import DEFAULT_STORAGE, is_quiet
from lstcl_platform.cli.trained import (
    ClipsOption,
    CropsOption,
    RunOrFileArgument,
    StrideOption,
    described,
    fetched,
    loaded,
    with_views,
)

if TYPE_CHECKING:
    from rich.table import Table

    from lstcl_platform.specs.trained import TrainedSpec
    from lstcl_platform.training.apply import Prediction

EXIT_BAD_VIDEOS = 1
_SHOWN_CLASSES = 5


def predict(
    run: RunOrFileArgument,
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO...", show_default=False, help="Video files, or folders of them."),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes shown of each video.")] = _SHOWN_CLASSES,
    clips: ClipsOption = None,
    crops: CropsOption = None,
    stride: StrideOption = None,
    output_format: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Name the most probable classes of each VIDEO, cut and averaged exactly as the model's test did.

    Runs on this machine, on its GPU where there is one. Exit code: 0 when all videos could be read, 1 when some could
    not (they are named, the others are predicted), 2 when RUN or VIDEO is wrong.
    """
    from lstcl_platform.cli.data import progress_bar
    from lstcl_platform.training.apply import predict as predict_videos

    with fetched(run, storage=storage, tracking_uri=tracking_uri) as weights:
        spec = with_views(weights.spec, clips=clips, crops=crops, stride=stride)
        trained = loaded(weights, spec)
    with progress_bar("Predicting") as progress:
        found = list(predict_videos(trained, videos, top=top, progress=progress))
    match output_format:
        case Format.CSV:
            typer.echo(_csv(found), nl=False)
        case Format.JSON:
            typer.echo(json.dumps(_record(found, spec), indent=2))
        case Format.TABLE:
            _print(found, spec)
    bad = [prediction for prediction in found if prediction.problem is not None]
    for prediction in bad:
        typer.echo(f"cannot be read: {prediction.path}: {prediction.problem}", err=True)
    if bad:
        raise typer.Exit(EXIT_BAD_VIDEOS)


def _print(found: Sequence["Prediction"], spec: "TrainedSpec") -> None:
    from lstcl_platform.cli.results import make_console

    console = make_console()
    readable = [prediction for prediction in found if prediction.problem is None]
    if readable:
        console.print(_table(readable))
    if not is_quiet():
        typer.echo(described(spec), err=True)
    if spec.classes is None:
        typer.echo("classes are numbers: the training did not record their names", err=True)


def _table(found: Sequence["Prediction"]) -> "Table":
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("video", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for prediction in found:
        for place, (name, probability) in enumerate(prediction.top):
            table.add_row(
                escape(_short(prediction.path)) if place == 0 else "",
                escape(name),
                f"{probability:.1%}",
                style=None if place == 0 else "dim",
            )
    return table


def _short(path: str) -> str:
    """`path` as seen from the current folder where it lies below it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _csv(found: Sequence["Prediction"]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "rank", "class", "probability", "problem"])
    for prediction in found:
        for rank, (name, probability) in enumerate(prediction.top, 1):
            writer.writerow([prediction.path, rank, name, f"{probability:.6f}", ""])
        if prediction.problem is not None:
            writer.writerow([prediction.path, "", "", "", prediction.problem])
    return text.getvalue()


def _record(found: Sequence["Prediction"], spec: "TrainedSpec") -> dict[str, object]:
    videos = [
        asdict(prediction)
        | {"top": [{"class": name, "probability": share} for name, share in prediction.top]}
        for prediction in found
    ]
    return {"model": spec.model_dump(mode="json"), "videos": videos}
