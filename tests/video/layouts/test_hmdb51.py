import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.sources import list_videos


@pytest.fixture
def splits(tmp_path):
    for name in ("org/wave/one.avi", "org/wave/two #2.avi", "org/chew/one.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = tmp_path / "splits"
    folder.mkdir()
    (folder / "wave_test_split1.txt").write_text("one.avi 1 \ntwo #2.avi 2 \nthree.avi 0 \n")
    (folder / "chew_test_split1.txt").write_text("one.avi 1 \n")
    (folder / "wave_test_split2.txt").write_text("one.avi 2 \n")
    (folder / "chew_test_split2.txt").write_text("one.avi 2 \ngone.avi 2 \n")
    return folder


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("train1", [("org/chew/one.avi", 0, "chew"), ("org/wave/one.avi", 1, "wave")]),
        ("test1", [("org/wave/two #2.avi", 1, "wave")]),
        (
            "test2",
            [("org/chew/one.avi", 0, "chew"), ("chew/gone.avi", 0, "chew"), ("org/wave/one.avi", 1, "wave")],
        ),
    ],
)
def test_a_part_of_a_split_is_listed(splits, part, expected):
    listing = list_videos(splits.parent / f"splits#{part}")
    assert [(v.path, v.label, v.label_name) for v in listing.videos] == expected
    assert listing.classes == ("chew", "wave")
    assert listing.root == splits.parent


@pytest.mark.parametrize("part", ["", "#train3", "#val1"])
def test_the_part_must_be_one_that_is_there(splits, part):
    with pytest.raises(UserError, match=r"allowed: splits#train1, splits#test1, splits#train2, splits#test2"):
        list_videos(splits.parent / f"splits{part}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one.avi 1\ntwo.avi 3\n", r"wave_test_split1\.txt, line 2: 'two\.avi 3' is wrong"),
        ("one.avi\n", r"line 1: 'one\.avi' is wrong"),
        ("one.avi 1\none.avi 1\n", r"line 2: one\.avi is there twice"),
    ],
)
def test_wrong_lines_are_named(splits, text, message):
    (splits / "wave_test_split1.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        list_videos(splits.parent / "splits#train1")
