"""`lstcl-platform data`: look at a dataset before training on it."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lstcl_platform.cli.terminal import hint, is_quiet
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.storage.places import Place
    from lstcl_platform.video.manifest import Manifest

data_app = typer.Typer(no_args_is_help=True)

SOURCE_HELP = (
    "Folder with one folder a class, CSV of path,label, or annotation of a published dataset: Kinetics train.csv, "
    "Something-Something-V2 train.json, UCF101 trainlist01.txt, HMDB51 splits#train1."
)
VideosOption = Annotated[
    str | None,
    typer.Option(
        "--videos",
        help="Folder or URI of an annotation's videos. Default: below its folder or the one above.",
        metavar="FOLDER",
    ),
]

_PROBLEMS_SHOWN = 20


@data_app.callback()
def data() -> None:
    """Video datasets, from files to what a model sees.

    In the order of use: index, check, show, and prepare where `plan` says that decoding is the bottleneck.
    """


@data_app.command()
def index(
    source: Annotated[str, typer.Argument(help=f"{SOURCE_HELP} A path, or a URI (s3://, gs://).")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Parquet to write. Default: name of SOURCE in this folder."),
    ] = None,
    videos: VideosOption = None,
) -> None:
    """Read every video of SOURCE once and write a manifest: frames, rate, size, digest, and what is wrong.

    Damaged videos are named and left out of training; they do not stop the index. If the output exists, only
    files that changed since are read again.
    """
    from lstcl_platform.storage.places import place_of
    from lstcl_platform.video.indexing import index_videos
    from lstcl_platform.video.manifest import Manifest

    target = default_manifest(place_of(source)) if output is None else place_of(output)
    previous = Manifest.load(target) if target.exists() else None
    with progress_bar(f"Indexing {source}") as progress:
        manifest = index_videos(source, videos=videos_place(videos), previous=previous, progress=progress)
    manifest.save(target)
    _summarise(manifest, target)
    hint(f"lstcl-platform data show {target} -o views.png, or name {target} as data.train or data.val")


def videos_place(videos: str | None) -> "Place | None":
    """What `--videos` names."""
    from lstcl_platform.storage.places import place_of

    return None if videos is None else place_of(videos)


def default_manifest(source: "Place") -> Path:
    """The Parquet that is written for a source when none is named: the same name, in the current folder."""
    return Path(f"{source.resolve().stem if source.is_file() else source.resolve().name}.parquet")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; elsewhere a line for every tenth of the work; with --quiet nothing."""
    if is_quiet():
        yield lambda done, total: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:

        def line(done: int, total: int) -> None:
            if done * 10 // total > (done - 1) * 10 // total:
                typer.echo(f"{title}: {done} of {total}", err=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summarise(manifest: "Manifest", target: "Place") -> None:
    videos, usable = len(manifest), len(manifest.usable)
    names = Counter(manifest.labels[manifest.usable].tolist())
    fewest, most = min(names.values(), default=0), max(names.values(), default=0)
    typer.echo(f"videos    {videos} ({usable} usable)")
    if manifest.published is not None:
        typer.echo(f"published {videos} of {manifest.published} of the published videos are here")
    typer.echo(f"classes   {len(manifest.classes)} ({fewest} to {most} usable videos in those that have any)")
    typer.echo(f"hours     {manifest.hours:.2f}")
    typer.echo(f"digest    {manifest.digest}")
    typer.echo(f"manifest  {target}")
    if manifest.problems:
        typer.echo(f"problems  {numbered(len(manifest.problems), 'video')} cannot be used:")
    for path, problem in manifest.problems[:_PROBLEMS_SHOWN]:
        typer.echo(f"  {path}: {problem}")
    if len(manifest.problems) > _PROBLEMS_SHOWN:
        typer.echo(f"  and {len(manifest.problems) - _PROBLEMS_SHOWN} more: column `problem` of the manifest")
