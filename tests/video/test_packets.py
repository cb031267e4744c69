import av
import pytest

from lstcl_platform.video.packets import PacketIndex
from tests.helpers.videos import make_video


def index_of(path):
    with av.open(str(path)) as container:
        return PacketIndex(container, container.streams.video[0])


def fed(index, wanted):
    return sum(len(run.feed) for run in index.runs(wanted))


@pytest.mark.parametrize("name", ["v.mp4", "v.ts"])
def test_unreferenced_pictures_are_left_out(tmp_path, name):
    # The same stream with NAL lengths (mp4) and with start codes (ts).
    index = index_of(make_video(tmp_path / name, frames=60, gop=60, bframes=2))
    assert fed(index, range(60)) == 60
    assert fed(index, [57]) <= 40  # every second B-frame is a reference of the other one


def test_only_the_needed_groups_are_decoded(tmp_path):
    index = index_of(make_video(tmp_path / "v.mp4", frames=60, gop=10, bframes=0))
    runs = index.runs([3, 45])
    assert [run.first for run in runs] == [0, 40]
    assert [len(run.feed) for run in runs] == [4, 6]
    assert [run.first for run in index.runs([9, 12])] == [0]


def test_leading_pictures_of_an_open_group_need_the_group_before(tmp_path):
    index = index_of(make_video(tmp_path / "v.mp4", frames=60, gop=12, bframes=2, open_gop=True))
    keys = index.table.keys
    leading = [
        shown
        for shown, i in enumerate(index.shown)
        if any(i > key and index.pts[i] < index.pts[key] for key in keys)
    ]
    assert leading
    first = leading[0]
    assert index.runs([first])[0].first == 0
    assert index.runs([first + 6])[0].first in keys[1:]


def test_hidden_packets_are_not_shown_but_decoded(tmp_path):
    index = index_of(make_video(tmp_path / "v.mp4", frames=60, gop=60, bframes=0, cut_frames=10))
    assert len(index.shown) == 50
    assert len(index.table) == 60
    assert fed(index, [0]) == 11


def test_containers_without_presentation_times_are_decoded_by_order(tmp_path):
    index = index_of(make_video(tmp_path / "v.avi", frames=20, codec="mpeg4"))
    assert index.by_order
    assert fed(index, [3]) == 20


def test_intra_refresh_is_no_entry_point(tmp_path):
    path = tmp_path / "v.mp4"
    make_video(path, frames=60, gop=20, bframes=0, x264="intra-refresh=1")
    index = index_of(path)
    assert len(index.table.keys) > 1
    assert index.runs([50])[0].first == 0


@pytest.mark.parametrize(
    "options", [{"codec": "libx265"}, {"codec": "mpeg2video", "name": "v.mpg", "fps": 25}]
)
def test_pictures_that_other_codecs_do_not_refer_to_are_left_out(tmp_path, options):
    made = {"name": "v.mp4"} | options
    path = tmp_path / made.pop("name")
    index = index_of(make_video(path, frames=60, gop=60, bframes=2, **made))
    assert fed(index, range(60)) == 60
    assert fed(index, [57]) <= 40
