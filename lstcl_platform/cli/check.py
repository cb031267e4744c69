"""`lstcl-platform data check`: decode every video before a study trips over it."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.data import SOURCE_HELP, VideosOption, default_manifest, progress_bar, videos_place
from lstcl_platform.cli.launch import AddressOption
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.storage.places import Place
    from lstcl_platform.video.manifest import Manifest

EXIT_BAD_VIDEOS = 1
_SHOWN = 50


def check(
    source: Annotated[
        str, typer.Argument(help=f"{SOURCE_HELP} Or a manifest (Parquet). A path, or a URI (s3://, gs://).")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Manifest to write. Default: SOURCE if it is one, else its name in this folder.",
        ),
    ] = None,
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="Form of the report.")] = "table",
    videos: VideosOption = None,
    address: AddressOption = None,
) -> None:
    """Decode every frame of every video of SOURCE and name what is wrong, in a report and in the manifest.

    Videos with a problem are left out by a study whose `data.train` or `data.val` names the manifest. Exit code: 0
    when all videos are sound, 1 when some are not, 2 when SOURCE is wrong.
    """
    from lstcl_platform.orchestration.check import check_videos
    from lstcl_platform.storage.places import place_of

    place = place_of(source)
    named = place if place.suffix.lower() == ".parquet" else None
    target = place_of(output) if output else named or default_manifest(place)
    with progress_bar(f"Checking {source}") as progress:
        manifest = check_videos(source, address=address, videos=videos_place(videos), progress=progress)
    manifest.save(target)
    if form == "json":
        typer.echo(json.dumps(_report(manifest, target), indent=2))
    else:
        _print_report(manifest, target)
    if manifest.problems:
        raise typer.Exit(EXIT_BAD_VIDEOS)


def _report(manifest: "Manifest", target: "Place") -> dict[str, object]:
    from lstcl_platform.video.soundness import kind_of

    bad = [{"path": p, "kind": kind_of(problem), "problem": problem} for p, problem in manifest.problems]
    return {
        "manifest": str(target),
        "digest": manifest.digest,
        "videos": len(manifest),
        "published": manifest.published,
        "usable": len(manifest.usable),
        "kinds": dict(Counter(kind_of(problem) for _, problem in manifest.problems).most_common()),
        "problems": bad,
    }


def _print_report(manifest: "Manifest", target: "Place") -> None:
    from rich.table import Table

    from lstcl_platform.cli.results import make_console
    from lstcl_platform.video.soundness import kind_of

    console = make_console()
    counts = Counter(kind_of(problem) for _, problem in manifest.problems)
    table = Table(title=f"{numbered(len(manifest), 'video')}, every frame decoded", title_justify="left")
    table.add_column("found")
    for column in ("videos", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind, count in [("sound", len(manifest.usable)), *counts.most_common()]:
        table.add_row(kind, str(count), f"{count / len(manifest):.1%}")
    console.print(table)
    if manifest.published is not None:
        typer.echo(f"{len(manifest)} of {manifest.published} of the published videos are here")
    for path, problem in manifest.problems[:_SHOWN]:
        typer.echo(f"{path}: {problem}")
    if len(manifest.problems) > _SHOWN:
        typer.echo(f"and {len(manifest.problems) - _SHOWN} more: column `problem` of the manifest")
    typer.echo(f"manifest  {target} (name it as data.train or data.val)")
