import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.sources import list_videos


@pytest.fixture
def splits(tmp_path):
    for name in ("UCF-101/Biking/v_Biking_g01_c01.avi", "UCF-101/YoYo/v_YoYo_g01_c01.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 YoYo\r\n2 Biking\r\n")
    (folder / "trainlist01.txt").write_text("Biking/v_Biking_g01_c01.avi 2\nBiking/v_Biking_g09_c01.avi 2\n")
    (folder / "testlist01.txt").write_text("YoYo/v_YoYo_g01_c01.avi\n\n")
    return folder


def test_lists_are_read_with_the_numbers_of_the_classes(splits):
    train, test = (list_videos(splits / f"{name}list01.txt") for name in ("train", "test"))
    assert train.root == splits.parent
    assert [(v.path, v.label, v.label_name) for v in train.videos] == [
        ("UCF-101/Biking/v_Biking_g01_c01.avi", 1, "Biking"),
        ("Biking/v_Biking_g09_c01.avi", 1, "Biking"),
    ]
    # A prepared copy has another suffix.
    assert [(v.path, v.label) for v in test.videos] == [("UCF-101/YoYo/v_YoYo_g01_c01.mp4", 0)]
    assert train.classes == test.classes == ("YoYo", "Biking")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Biking/v_Biking_g01_c01.avi 1\n",
            r"trainlist01\.txt, line 1: .* number 1, but Biking is 2 in classInd",
        ),
        ("\nSwim/v.avi 2\n", r"trainlist01\.txt, line 2: 'Swim/v\.avi 2' is wrong"),
        ("Biking/a.avi 2\nBiking/a.avi 2\n", r"line 2: Biking/a\.avi is there twice"),
        ("Biking 2\n", r"line 1: 'Biking 2' is wrong"),
    ],
)
def test_wrong_lines_are_named(splits, text, message):
    (splits / "trainlist01.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        list_videos(splits / "trainlist01.txt")


def test_wrong_classes_are_named(splits):
    (splits / "classInd.txt").write_text("1 YoYo\n3 Biking\n")
    with pytest.raises(UserError, match=r"classInd\.txt, line 2: '3 Biking' is wrong; expected 2"):
        list_videos(splits / "trainlist01.txt")
    (splits / "classInd.txt").unlink()
    with pytest.raises(UserError, match=r"classInd\.txt with UCF101's classes must lie beside it"):
        list_videos(splits / "trainlist01.txt")


def test_parts_are_for_annotations_that_have_some(splits):
    with pytest.raises(UserError, match="the layout UCF101 has no parts"):
        list_videos(splits / "trainlist01.txt#train")
