"""`embed`: features of a dataset, and which videos are near one another."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstcl_platform.cli.data import SOURCE_HELP, progress_bar
from lstcl_platform.cli.launch import AddressOption
from lstcl_platform.cli.predict import EXIT_BAD_VIDEOS
from lstcl_platform.cli.results import Storage, TrackingUri
from lstcl_platform.cli.terminal import DEFAULT_STORAGE, hint
from lstcl_platform.cli.trained import (
    ClipsOption,
    CropsOption,
    RunOrFileArgument,
    StrideOption,
    described,
    fetched,
    with_views,
)
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.video.manifest import Manifest

_PROBLEMS_SHOWN = 20


def embed(
    run: RunOrFileArgument,
    source: Annotated[
        Path,
        typer.Argument(help=f"{SOURCE_HELP} Or a manifest (Parquet), or a folder of videos without classes."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet to write.")] = Path(
        "features.parquet"
    ),
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest videos shown of each on the sheet.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Videos on the sheet, spread evenly.")] = 8,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also draw videos beside their nearest neighbours: .png, .pdf or .svg."),
    ] = None,
    clips: ClipsOption = None,
    crops: CropsOption = None,
    stride: StrideOption = None,
    address: AddressOption = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write the backbone's feature of every video of SOURCE: a row a video, in SOURCE's order, whatever runs it.

    Columns: path, label, label_name, features and problem. Exit code: 0 when all videos could be read, 1 when some
    could not (they are named, and have no features), 2 when RUN or SOURCE is wrong.
    """
    from lstcl_platform.orchestration.embed import embed_videos, write_features
    from lstcl_platform.specs.errors import UserError

    if not output.parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}")
    with fetched(run, storage=storage, tracking_uri=tracking_uri) as weights:
        spec = with_views(weights.spec, clips=clips, crops=crops, stride=stride)
        with progress_bar(f"Indexing {source}") as progress:
            manifest = _manifest(source, progress)
        with progress_bar(f"Embedding {source}") as progress:
            found = embed_videos(weights.file, manifest, spec=spec, address=address, progress=progress)
    write_features(found, output, spec=spec)
    typer.echo(f"features  {output}: {numbered(len(found.table), 'video')}, {found.width} numbers each")
    typer.echo(f"model     {described(spec)}")
    if sheet is not None:
        from lstcl_platform.results.neighbours import draw_neighbours, nearest

        near = nearest(found.table, count=neighbours)
        draw_neighbours(near, sheet, root=found.root, queries=queries)
        typer.echo(f"sheet     {sheet}")
        if near.agreement is not None:
            typer.echo(f"nearest   of the same class for {near.agreement:.1%} of the videos")
    for path, problem in found.problems[:_PROBLEMS_SHOWN]:
        typer.echo(f"cannot be read: {path}: {problem}", err=True)
    if len(found.problems) > _PROBLEMS_SHOWN:
        typer.echo(
            f"and {len(found.problems) - _PROBLEMS_SHOWN} more: column `problem` of {output}", err=True
        )
    hint(f'pyarrow.parquet.read_table("{output}") in Python')
    if found.problems:
        raise typer.Exit(EXIT_BAD_VIDEOS)


def _manifest(source: Path, progress: Callable[[int, int], None]) -> "Manifest":
    """Manifest of SOURCE; a folder that holds videos itself has no classes."""
    from dataclasses import asdict

    from lstcl_platform.video.indexing import index_videos, manifest_of
    from lstcl_platform.video.loose import holds_loose_videos, loose_listing
    from lstcl_platform.video.manifest import Manifest
    from lstcl_platform.video.probe import probe

    if source.suffix.lower() == ".parquet":
        return Manifest.load(source)
    if not holds_loose_videos(source):
        return index_videos(source, progress=progress)
    listing = loose_listing([source])
    facts = []
    for video in listing.videos:
        facts.append(asdict(probe(listing.root / video.path)))
        progress(len(facts), len(listing.videos))
    return manifest_of(listing, facts)
