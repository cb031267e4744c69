import pytest

from lstcl_platform.video.probe import probe
from lstcl_platform.video.soundness import kind_of
from tests.helpers.videos import damage, make_video


def thorough(path):
    """Problem that a full decode finds, and whether a quick look finds one too."""
    return probe(path, thorough=True).problem, probe(path).problem is not None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "v.mkv", "open_gop": True, "bframes": 3},
        {"name": "v.ts"},
        {"name": "v.webm", "codec": "libvpx-vp9"},
        {"name": "v.avi", "codec": "mpeg4"},
        {"name": "v.h264"},
        {"cut_frames": 17, "bframes": 3, "open_gop": True},
    ],
    ids=str,
)
def test_a_sound_video_has_no_problem_and_the_same_facts(tmp_path, options):
    path = make_video(tmp_path / options.pop("name", "v.mp4"), frames=40, side=48, **options)
    assert probe(path, thorough=True) == probe(path)
    assert probe(path).problem is None


@pytest.mark.parametrize(("name", "codec"), [("v.mp4", "libx264"), ("v.mp4", "mpeg4"), ("v.ts", "libx264")])
def test_damage_in_the_middle_is_found_by_decoding_and_placed(tmp_path, name, codec):
    path = damage(make_video(tmp_path / name, frames=60, side=64, codec=codec), start=0.5, length=500)
    problem, _ = thorough(path)
    assert kind_of(problem) == "decode errors"
    near, expected = (int(word) for word in problem.split(":")[0].split() if word.isdigit())
    assert 5 <= near <= 55
    assert abs(expected - 60) <= 2


def test_a_picture_size_that_changes_is_placed(tmp_path):
    first = make_video(tmp_path / "a.ts", frames=20, side=48)
    second = make_video(tmp_path / "b.ts", frames=20, side=64)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert thorough(both)[0] == "picture size changes at frame 20 of 40: 48x48, then 64x64"
    both.write_bytes(first.read_bytes() * 2)
    assert thorough(both) == (None, False)


@pytest.mark.parametrize(("name", "quick"), [("v.mp4", True), ("v.mkv", False), ("v.avi", True)])
def test_a_file_cut_short_is_truncated(tmp_path, name, quick):
    codec = "mpeg4" if name == "v.avi" else "libx264"
    path = make_video(tmp_path / name, frames=60, codec=codec, faststart=name == "v.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 8 // 10])
    problem, quickly = thorough(path)
    assert kind_of(problem) == "truncated"
    assert quickly == quick


def test_kinds_are_how_problems_begin():
    assert kind_of("truncated at frame 3 of 9") == "truncated"
    assert kind_of("changed since it was indexed") == "other"
