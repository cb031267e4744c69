import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.manifest import Manifest, VideoRow, check_same_classes, check_usable
from tests.helpers.damage import damaged


def row(number, **changes):
    base = VideoRow(
        row=number,
        path=f"a/{number}.mp4",
        label=0,
        label_name="a",
        frames=60,
        fps=30.0,
        duration=2.0,
        width=64,
        height=48,
        codec="h264",
        rotation=0,
        size_bytes=10,
        modified_ns=5,
        digest=f"{number:064x}",
        problem=None,
    )
    return replace(base, **changes)


def build(tmp_path, rows):
    return Manifest.from_rows(rows, root=tmp_path)


def test_saved_manifest_comes_back_equal(tmp_path):
    manifest = build(tmp_path, [row(0), row(1, problem="empty file", label=2, label_name="c")])
    manifest.save(tmp_path / "index" / "m.parquet")
    loaded = Manifest.load(tmp_path / "index" / "m.parquet")
    assert loaded.table.equals(manifest.table)
    assert loaded.digest == manifest.digest
    assert loaded.row(1) == manifest.row(1)
    assert loaded.usable.tolist() == [0]
    assert loaded.problems == [("a/1.mp4", "empty file")]
    assert loaded.classes == ["a", "1", "c"]
    assert loaded.hours == pytest.approx(2 / 3600)


def test_dataset_moves_together_with_its_manifest(tmp_path):
    (tmp_path / "here" / "a").mkdir(parents=True)
    build(tmp_path / "here", [row(0)]).save(tmp_path / "here" / "m.parquet")
    (tmp_path / "here").rename(tmp_path / "there")
    assert Manifest.load(tmp_path / "there" / "m.parquet").file(0) == tmp_path / "there" / "a" / "0.mp4"


def test_manifest_kept_elsewhere_finds_its_videos(tmp_path):
    (tmp_path / "videos").mkdir()
    build(tmp_path / "videos", [row(0)]).save(tmp_path / "cache" / "m.parquet")
    assert Manifest.load(tmp_path / "cache" / "m.parquet").root == (tmp_path / "videos").resolve()


@pytest.mark.parametrize(
    "changes", [{"path": "b/0.mp4"}, {"label": 1}, {"digest": "f" * 64}, {"problem": "empty file"}]
)
def test_digest_follows_what_training_depends_on(tmp_path, changes):
    assert build(tmp_path, [row(0, **changes)]).digest != build(tmp_path, [row(0)]).digest


def test_digest_ignores_machine_and_wording(tmp_path):
    one = build(tmp_path, [row(0), row(1, problem="unreadable: a")])
    other = build(tmp_path / "x", [row(0, modified_ns=99), row(1, problem="unreadable: b")])
    assert one.digest == other.digest


def test_unreadable_manifests_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.parquet: no such manifest"):
        Manifest.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("path,label\n")
    with pytest.raises(UserError, match=r"text\.parquet: cannot be read as a Parquet manifest"):
        Manifest.load(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a"], "label": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet: not a video manifest: column label_name, frames"):
        Manifest.load(tmp_path / "other.parquet")


def test_no_flipped_bit_and_no_cut_gets_by(tmp_path):
    """Whatever a single bit does, the manifest is refused by name or is exactly what was written."""
    written = replace(
        build(tmp_path, [row(0), row(1, problem="gone")]), stated_classes=("a", "b"), published=3
    )
    path = tmp_path / "m.parquet"
    written.save(path)
    copies, messages = damaged(path.read_bytes(), flips=600), []
    for content in copies:
        path.write_bytes(content)
        try:
            found = Manifest.load(path)
        except UserError as error:
            messages.append(str(error))
        else:
            assert found == replace(written, table=found.table)
            assert found.table.equals(written.table)
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert len(messages) > len(copies) / 2, "most bytes of a manifest mean something"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.mp4", "a/../../b.mp4", "..", "a\\..\\..\\b", "C:/a"]
)
def test_no_path_leaves_the_root(tmp_path, path):
    build(tmp_path, [row(0), row(1, path=path)]).save(tmp_path / "m.parquet")
    with pytest.raises(UserError, match="is not below its root") as refused:
        Manifest.load(tmp_path / "m.parquet")
    assert str(tmp_path / "m.parquet") in str(refused.value)
    build(tmp_path, [row(0, path="a..b/...mp4")]).save(tmp_path / "m.parquet")
    assert len(Manifest.load(tmp_path / "m.parquet")) == 1


def test_too_many_bad_videos_stop_with_their_names(tmp_path):
    manifest = build(tmp_path, [row(0), row(1, problem="empty file"), row(2), row(3)])
    check_usable(manifest, max_bad_fraction=0.25)
    with pytest.raises(UserError, match=r"1 of 4 videos cannot be used.*0\.2.*a/1\.mp4: empty file"):
        check_usable(manifest, max_bad_fraction=0.2)


def test_splits_must_agree_on_labels(tmp_path):
    train = build(tmp_path, [row(0), row(1, label=1, label_name="b")])
    check_same_classes(train, build(tmp_path, [row(0)]))
    with pytest.raises(UserError, match="label 0 is 'b', but 'a'"):
        check_same_classes(train, build(tmp_path, [row(0, label_name="b")]))
    with pytest.raises(UserError, match=r"3 classes, but .* only 2: c cannot be learned"):
        check_same_classes(train, build(tmp_path, [row(0), row(1, label=2, label_name="c")]))


def test_what_labels_mean_is_part_of_the_digest(tmp_path):
    named = build(tmp_path, [row(0), row(1, label=1, label_name="b")])
    assert named.digest != build(tmp_path, [row(0), row(1, label=1, label_name="c")]).digest
    assert named.digest == replace(named, stated_classes=("a", "b")).digest
    assert named.digest != replace(named, stated_classes=("a", "b", "c")).digest


def test_what_the_layout_states_is_kept(tmp_path):
    stated = replace(build(tmp_path, [row(0)]), stated_classes=("a", "b"), published=7)
    stated.save(tmp_path / "m.parquet")
    loaded = Manifest.load(tmp_path / "m.parquet")
    assert (loaded.classes, loaded.published, loaded.digest) == (["a", "b"], 7, stated.digest)


def test_stated_label_maps_must_be_equal(tmp_path):
    rows = build(tmp_path, [row(0)])
    train = replace(rows, stated_classes=("a", "b", "c"))
    check_same_classes(train, rows)
    check_same_classes(train, train)
    with pytest.raises(UserError, match=r"label 1 is 'x', but 'b' .*label maps \w{10} and \w{10}"):
        check_same_classes(train, replace(rows, stated_classes=("a", "x", "c")))
    with pytest.raises(UserError, match=r"2 classes, but 3 .* 'c' is missing"):
        check_same_classes(train, replace(rows, stated_classes=("a", "b")))


def test_the_index_side_needs_no_torch():
    code = (
        "import sys, lstcl_platform.video.manifest, lstcl_platform.video.plan, lstcl_platform.video.sampling;"
        "import lstcl_platform.video.samples, lstcl_platform.video.indexing;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
