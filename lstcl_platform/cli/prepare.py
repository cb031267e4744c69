"""`lstcl-platform data prepare`: transcode a dataset once, so that clips are fast to get."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.bench import parse_numbers
from lstcl_platform.cli.check import EXIT_BAD_VIDEOS
from lstcl_platform.cli.data import SOURCE_HELP, VideosOption, progress_bar, videos_place
from lstcl_platform.cli.launch import AddressOption
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.orchestration.transcode import Prepared

_SHOWN = 50
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]


def prepare(
    source: Annotated[str, typer.Argument(help=f"{SOURCE_HELP} A path, or a URI (s3://, gs://).")],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Folder of the prepared dataset, as path or URI: new, or to go on with."
        ),
    ],
    short_side: Annotated[
        int, typer.Option(min=16, help="Pixels of the shorter edge; smaller videos keep theirs.")
    ] = 256,
    gop: Annotated[int, typer.Option(min=1, help="Frames from one keyframe to the next, at most.")] = 16,
    crf: Annotated[int, typer.Option(min=0, max=51, help="x264's quality: less is better and larger.")] = 18,
    preset: Annotated[Preset, typer.Option(help="x264's speed.")] = "veryfast",
    fastdecode: Annotated[
        bool, typer.Option(help="Leave out what is slow to decode (in-loop filter, CABAC).")
    ] = True,
    strides: Annotated[
        str, typer.Option(help="Measured samples: frames between two of a clip, one clip for each.")
    ] = "8,32",
    frames: Annotated[int, typer.Option(min=1, help="Measured samples: frames a clip.")] = 8,
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="Form of the report.")] = "table",
    videos: VideosOption = None,
    address: AddressOption = None,
) -> None:
    """Encode every video of SOURCE as small H.264 with short groups of pictures, and measure what it brings.

    Frames, their times and the dataset's layout and labels stay; audio goes; display rotation is applied. Each file is
    decoded whole, and appears only when its frames are those of its source. The same command goes on after an
    interruption. Exit code: 0 when all videos are prepared, 1 when some cannot be, 2 when the input is wrong.
    """
    from lstcl_platform.orchestration.transcode import prepare_videos
    from lstcl_platform.storage.places import place_of
    from lstcl_platform.video.transcoding import TranscodeSettings

    settings = TranscodeSettings(
        short_side=short_side, gop=gop, crf=crf, preset=preset, fastdecode=fastdecode
    )
    numbers = parse_numbers("--strides", strides)
    with progress_bar(f"Preparing {source}") as progress:
        prepared = prepare_videos(
            place_of(source),
            place_of(output),
            settings=settings,
            strides=numbers,
            frames=frames,
            address=address,
            videos=videos_place(videos),
            progress=progress,
        )
    if form == "json":
        typer.echo(json.dumps({**asdict(prepared), "speed_up": prepared.speed_up}, indent=2))
    else:
        _print_report(prepared, strides=strides, frames=frames)
    if prepared.problems:
        raise typer.Exit(EXIT_BAD_VIDEOS)


def _print_report(prepared: "Prepared", *, strides: str, frames: int) -> None:
    for path, problem in prepared.problems[:_SHOWN]:
        typer.echo(f"{path}: {problem}")
    if len(prepared.problems) > _SHOWN:
        typer.echo(f"and {len(prepared.problems) - _SHOWN} more")
    typer.echo(
        f"videos    {prepared.videos}: {prepared.written} prepared, {prepared.found} there before, "
        f"{len(prepared.problems)} left out"
    )
    before, after = (size / 1e6 for size in (prepared.bytes_before, prepared.bytes_after))
    typer.echo(f"size      {before:.1f} MB before, {after:.1f} MB after")
    if prepared.speed_up is not None:
        typer.echo(
            f"speed     {prepared.rate_after:.1f} samples a CPU second, {prepared.rate_before:.1f} before: "
            f"{prepared.speed_up:.1f}x ({frames} frames, strides {strides}, {numbered(prepared.measured, 'video')})"
        )
    typer.echo(f"dataset   {prepared.dataset} (name it as data.train or data.val)")
