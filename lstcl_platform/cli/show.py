"""`lstcl-platform data show`: see what a model sees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstcl_platform.cli.plan import OverrideOptions
from lstcl_platform.cli.terminal import hint
from lstcl_platform.specs import expand, load_requested
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.storage.places import Place
    from lstcl_platform.video.manifest import VideoRow


def show(
    source: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO|MANIFEST",
            help="Video file, or manifest (Parquet): a path, or a URI (s3://, gs://).",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .png, .pdf or .svg.")],
    spec: Annotated[
        Path | None,
        typer.Option(help="Experiment file whose first pretraining is shown. Default: the paper's settings."),
    ] = None,
    overrides: OverrideOptions = None,
    row: Annotated[
        int | None, typer.Option(min=0, help="Row of the manifest. Default: its first usable video.")
    ] = None,
    epoch: Annotated[int, typer.Option(min=0, help="Epoch whose random draws are shown.")] = 0,
) -> None:
    """Draw both views of a video as the model sees them: times, crops, before and after augmentation.

    For a manifest of the study's data, they are the views that this video has in that epoch; the draws of a single
    file are those of row 0.
    """
    pretrain, model, data = _settings(spec, overrides or ())
    from lstcl_platform.storage.places import place_of

    path, video = _video(place_of(source), row)
    if video.problem is not None:
        raise UserError(f"{path}: {video.problem}")
    from lstcl_platform.results.contact_sheet import draw_sheet, views_of
    from lstcl_platform.video.decoding import DecodeError

    try:
        views = views_of(
            path,
            video,
            pretrain,
            frames=model.frames,
            size=model.image_size,
            target_fps=data.target_fps,
            epoch=epoch,
            short_videos=data.short_videos,
        )
    except DecodeError as error:
        raise UserError(str(error)) from error
    title = (
        f"{path.name}: {video.width}x{video.height}, {numbered(video.frames, 'frame')}, {video.fps:g}/s, "
        f"{video.codec}; epoch {epoch}, seed {pretrain.seed}"
    )
    draw_sheet(views, output, title=title, duration=video.duration)
    typer.echo(f"sheet     {output}")
    if spec is None:
        hint("--spec FILE shows the views of your own study; lstcl-platform plan FILE says what it would run")


def _settings(
    spec: Path | None, overrides: list[str] | tuple[()]
) -> tuple[PretrainSpec, ModelSpec, DataSpec]:
    if spec is None:
        return PretrainSpec(), ModelSpec(), DataSpec(train="train", val="val")
    first = expand(load_requested(spec, overrides).resolved).trials[0].spec
    if first.pretrain is None:
        raise UserError(f"{spec}: its first trial has no pretrain, so there are no two views to show")
    return first.pretrain, first.model, first.data


def _video(source: "Place", row: int | None) -> "tuple[Place, VideoRow]":
    from dataclasses import asdict

    from lstcl_platform.video.indexing import manifest_of
    from lstcl_platform.video.layouts.listing import Listed, Listing
    from lstcl_platform.video.manifest import Manifest
    from lstcl_platform.video.probe import probe

    if source.is_dir():
        raise UserError(
            f"{source}: a folder; name one video in it, or the manifest that `data index` writes of it"
        )
    if source.suffix.lower() != ".parquet":
        if row is not None:
            raise UserError(f"--row {row}: {source} is one video; rows are those of a manifest")
        listing = Listing(root=source.parent, videos=[Listed(source.name, 0, "")])
        return source, manifest_of(listing, [asdict(probe(source))]).row(0)
    manifest = Manifest.load(source)
    if row is None and not len(manifest.usable):
        raise UserError(f"{source}: no usable video")
    number = int(manifest.usable[0]) if row is None else row
    if number >= len(manifest):
        raise UserError(f"--row {row}: {source} has rows 0 to {len(manifest) - 1}")
    return manifest.file(number), manifest.row(number)
