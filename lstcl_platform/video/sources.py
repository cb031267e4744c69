"""The ways to say which videos there are: the layouts that are known, and which one a source has."""

from collections.abc import Callable
from dataclasses import dataclass

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place, place_of
from lstcl_platform.video.layouts.folder import list_folder
from lstcl_platform.video.layouts.hmdb51 import is_hmdb51, list_hmdb51
from lstcl_platform.video.layouts.kinetics import is_kinetics, list_kinetics
from lstcl_platform.video.layouts.listing import Listing, Source
from lstcl_platform.video.layouts.ssv2 import is_ssv2, list_ssv2
from lstcl_platform.video.layouts.table import list_table
from lstcl_platform.video.layouts.ucf101 import is_ucf101, list_ucf101


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to lay a dataset out.

    Attributes:
        name: for messages.
        source: what names it.
        fits: whether an existing source has it.
        read: its videos.
        has_parts: whether a source may hold several splits, told apart by `#part`.
    """

    name: str
    source: str
    fits: Callable[[Source], bool]
    read: Callable[[Source], Listing]
    has_parts: bool = False


LAYOUTS = (
    Layout(
        name="HMDB51",
        source="the folder of its split files, with the part: splits#train1",
        fits=is_hmdb51,
        read=list_hmdb51,
        has_parts=True,
    ),
    Layout(
        name="folder",
        source="a folder with one folder a class",
        fits=lambda source: source.path.is_dir(),
        read=list_folder,
    ),
    Layout(name="UCF101", source="trainlist01.txt", fits=is_ucf101, read=list_ucf101),
    Layout(name="Something-Something-V2", source="train.json", fits=is_ssv2, read=list_ssv2),
    Layout(
        name="Kinetics",
        source="train.csv with the columns label,youtube_id,time_start,time_end,split",
        fits=is_kinetics,
        read=list_kinetics,
        has_parts=True,
    ),
    Layout(
        name="CSV",
        source="a .csv or .txt of path,label",
        fits=lambda source: source.path.suffix.lower() in (".csv", ".txt"),
        read=list_table,
    ),
)
"""All layouts; a source has the first that fits."""


def list_videos(source: str | Place, *, videos: Place | None = None) -> Listing:
    """Videos of a source in any of `LAYOUTS`.

    Args:
        source: folder or annotation file, `#part` added where it holds several splits.
        videos: folder of the videos of an annotation file. By default they are looked for beside it (CSV of
            path,label), or below its folder and the folder above it (the published datasets).

    Raises:
        UserError: The source is missing, is in no known layout, names no video, or a line of it is wrong.
    """
    where = _where(place_of(source), videos)
    if not where.path.exists():
        raise UserError(
            f"{source}: no such file or folder; expected a folder with one folder a class, a CSV, or an annotation "
            "of a published dataset"
        )
    layout = next((layout for layout in LAYOUTS if layout.fits(where)), None)
    if layout is None:
        allowed = "; ".join(f"{layout.source} ({layout.name})" for layout in LAYOUTS)
        raise UserError(f"{source}: not a data source; allowed: {allowed}; a manifest (.parquet)")
    if where.part is not None and not layout.has_parts:
        raise UserError(f"{source}: the layout {layout.name} has no parts; name {where.path}")
    if videos is not None and layout.read is list_folder:
        raise UserError(f"{source}: is the folder of the videos itself; leave {videos} out")
    return layout.read(where)


def _where(source: Place, videos: Place | None) -> Source:
    name, mark, part = source.name.rpartition("#")
    if mark and not source.exists():
        return Source(path=source.with_name(name), part=part, videos=videos)
    return Source(path=source, videos=videos)
