import json

import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.sources import list_videos

LABELS = {"Moving something up": "1", "Closing something": "0", "Tearing something": "2"}
ENTRIES = [
    {"id": "78", "label": "moving a pen up", "template": "Moving [something] up", "placeholders": ["a pen"]},
    {"id": "9", "label": "closing a box", "template": "Closing [something]", "placeholders": ["a box"]},
]


@pytest.fixture
def root(tmp_path):
    for name in ("20bn/78.webm", "20bn/other.webm", "labels/labels.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labels" / "labels.json").write_text(json.dumps(LABELS))
    return tmp_path


def write(root, entries, name="train.json"):
    (root / "labels" / name).write_text(json.dumps(entries, indent=1))
    return root / "labels" / name


def test_labels_come_from_their_file_and_missing_videos_stay_listed(root):
    listing = list_videos(write(root, ENTRIES))
    assert listing.root == root
    assert [(v.path, v.label, v.label_name) for v in listing.videos] == [
        ("20bn/78.webm", 1, "Moving something up"),
        ("9.webm", 0, "Closing something"),
    ]
    assert listing.classes == ("Closing something", "Moving something up", "Tearing something")
    assert listing.published is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([ENTRIES[0], {"id": "9"}], r"train\.json, line 11 \(entry 2\): no template"),
        (
            [{**ENTRIES[0], "template": "Eating [something]"}],
            r"line 3 \(entry 1\): 'Eating something' is not in labels",
        ),
        ([ENTRIES[0], ENTRIES[0]], r"\(entry 2\): id 78 is there twice"),
        ([{"template": "x"}], r"\(entry 1\): no id"),
        ({}, "expected a list of entries"),
    ],
)
def test_wrong_entries_are_named(root, entries, message):
    with pytest.raises(UserError, match=message):
        list_videos(write(root, entries))


def test_wrong_files_are_named(root):
    source = write(root, ENTRIES)
    source.write_text('[\n{"id": "78",,}]')
    with pytest.raises(UserError, match=r"train\.json, line 2: not JSON"):
        list_videos(source)
    write(root, ENTRIES)
    write(root, {"a": "0", "b": "2"}, "labels.json")
    with pytest.raises(UserError, match=r"labels\.json: the numbers of 2 classes must be 0 to 1"):
        list_videos(source)
    write(root, ["a"], "labels.json")
    with pytest.raises(UserError, match=r"labels\.json: expected"):
        list_videos(source)
    (root / "labels" / "labels.json").unlink()
    with pytest.raises(UserError, match=r"0 files are named \*labels\.json"):
        list_videos(source)
