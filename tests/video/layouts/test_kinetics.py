import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.sources import list_videos

HEADER = "label,youtube_id,time_start,time_end,split\n"
ROWS = 'zumba,-ab_c#1,5,15,train\n"abseiling, high",xy,10.0,20,train\nzumba,gone,0,10,train\n'


@pytest.fixture
def root(tmp_path):
    for path in ("videos/train/zumba/-ab_c#1_000005_000015.mp4", "videos/flat/xy_000010_000020.mkv"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "videos" / "flat" / "other_000000_000010.mp4").touch()
    return tmp_path


def write(folder, text, name="train.csv"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("beside", [".", "annotations"])
def test_videos_here_are_listed_and_the_missing_ones_counted(root, beside):
    listing = list_videos(write(root / beside, HEADER + ROWS))
    assert listing.root.resolve() == root
    assert [(v.path, v.label, v.label_name) for v in listing.videos] == [
        ("videos/train/zumba/-ab_c#1_000005_000015.mp4", 1, "zumba"),
        ("videos/flat/xy_000010_000020.mkv", 0, "abseiling, high"),
    ]
    assert listing.published == 3
    assert listing.classes == ("abseiling, high", "zumba")


def test_a_class_without_videos_keeps_its_number(root):
    listing = list_videos(write(root, f"{HEADER}a,gone,5,15,train\n{ROWS}"))
    assert [v.label for v in listing.videos] == [2, 1]
    assert listing.classes == ("a", "abseiling, high", "zumba")


def test_one_of_several_splits_is_chosen_by_part(root):
    source = write(root, HEADER + ROWS + "zumba,xy,10,20,val\n", "kinetics700.csv")
    with pytest.raises(UserError, match=r"holds the splits train, val; say which: kinetics700\.csv#val"):
        list_videos(source)
    listing = list_videos(root / "kinetics700.csv#val")
    assert [(v.path, v.label, v.label_name) for v in listing.videos] == [
        ("videos/flat/xy_000010_000020.mkv", 1, "zumba")
    ]
    with pytest.raises(UserError, match=r"#test: no such split; allowed: train, val"):
        list_videos(root / "kinetics700.csv#test")


def test_the_folder_of_the_videos_can_be_named(root, tmp_path_factory):
    source = write(tmp_path_factory.mktemp("elsewhere") / "deep", HEADER + ROWS)
    with pytest.raises(UserError, match=r"none of the 3 videos .* --videos FOLDER"):
        list_videos(source)
    listing = list_videos(source, videos=root / "videos")
    assert listing.videos[1].path == "flat/xy_000010_000020.mkv"
    with pytest.raises(UserError, match="nowhere: no such folder of videos"):
        list_videos(source, videos=root / "nowhere")


def test_a_video_in_two_places_is_refused(root):
    (root / "videos" / "xy_000010_000020.mp4").touch()
    with pytest.raises(UserError, match="are the same video"):
        list_videos(write(root, HEADER + ROWS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{HEADER}a,xy,ten,20,train\n",
            r"train\.csv, line 2: time_start 'ten' and time_end '20' must be seconds",
        ),
        (f"{HEADER}a,xy,10,20,train\n,xz,1,2,train\n", r"train\.csv, line 3: label is empty"),
        (f"{HEADER}a,xy,10,20,train\nb,xy,10,20,train\n", r"line 3: xy_000010_000020 is already in line 2"),
        (
            "youtube_id,time_start,time_end,split\nxy,1,2,test\n",
            r"line 1: no column 'label': a Kinetics test set",
        ),
        (HEADER, r"train\.csv: no video listed"),
    ],
)
def test_wrong_lines_are_named(root, text, message):
    with pytest.raises(UserError, match=message):
        list_videos(write(root, text))
