import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.sources import list_videos


def listed(source):
    return [(video.path, video.label, video.label_name) for video in list_videos(source).videos]


def write(tmp_path, text, name="train.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_folders_are_classes_in_sorted_order(tmp_path):
    for name in (
        "walk/2.mp4",
        "walk/1.mp4",
        "run/deep/x.MKV",
        "run/notes.txt",
        "run/._x.mp4",
        ".cache/y.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a_class_without_videos").mkdir()
    assert listed(tmp_path) == [
        ("run/deep/x.MKV", 0, "run"),
        ("walk/1.mp4", 1, "walk"),
        ("walk/2.mp4", 1, "walk"),
    ]


@pytest.mark.parametrize("header", ["", "path,label\n", "Path, Label\n"])
def test_csv_with_numbers_keeps_lines_and_labels(tmp_path, header):
    source = write(tmp_path, f"{header}b.mp4,3\n\na.mp4, 0\n")
    assert listed(source) == [("b.mp4", 3, "3"), ("a.mp4", 0, "0")]


def test_csv_with_names_numbers_them_in_sorted_order(tmp_path):
    source = write(tmp_path, '"x, y.mp4",walk\nb.mp4,run\n')
    assert listed(source) == [("x, y.mp4", 1, "walk"), ("b.mp4", 0, "run")]


def test_named_columns_stand_anywhere(tmp_path):
    source = write(tmp_path, "id,label,path\n7,run,a.mp4\n")
    assert listed(source) == [("a.mp4", 0, "run")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,0\nb.mp4\n", r"train\.csv, line 2: 'b\.mp4' has no label; expected path,label"),
        ("a.mp4 0\n", r"line 1: 'a\.mp4 0' has no label"),
        ("a.mp4,0\nb.mp4,-1\n", r"line 2: label '-1' of b\.mp4 is wrong; allowed: integers from 0"),
        ("path,label\na.mp4,0\nb.mp4,run\n", r"line 3: label 'run' of b\.mp4 is wrong; allowed"),
        ("a.mp4,0\nb.mp4,\n", r"line 2: the label of b\.mp4 is empty"),
        ("a.mp4,0\n,1\n", r"line 2: the path is empty"),
        ("a.mp4,0,1\n", r"line 1: 3 columns; expected path,label"),
        ("a.mp4,0\nb.mp4,1\na.mp4,1\n", r"line 3: a\.mp4 is already listed in line 1"),
        ("path,label\n", r"train\.csv: no video listed"),
        ("", r"train\.csv: no video listed"),
    ],
)
def test_wrong_csv_is_named_with_file_and_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        list_videos(write(tmp_path, text))


def test_binary_csv_is_refused(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="not a CSV in UTF-8"):
        list_videos(tmp_path / "train.csv")


def test_wrong_sources_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        list_videos(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no video found; expected one folder a class"):
        list_videos(tmp_path)
    with pytest.raises(
        UserError, match=r"data\.yaml: not a data source; allowed: .*a folder with one folder a class"
    ):
        list_videos(write(tmp_path, "{}", "data.yaml"))
    (tmp_path / "loose.mp4").touch()
    with pytest.raises(UserError, match=r"1 video \(loose\.mp4\) beside the class folders"):
        list_videos(tmp_path)
