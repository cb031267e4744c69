"""What a node finds out, asked without a cluster."""

from lstcl_platform.orchestration.node_probe import TOKEN_FILE, first_frames, try_storage, versions
from tests.helpers.videos import make_video


def test_versions_name_what_results_depend_on():
    found = versions()
    assert {"python", "ray", "torch", "av", "lstcl_platform", "our code"} <= found.keys()
    assert found == versions()


def test_storage_is_shared_writable_and_left_clean(tmp_path):
    folder = str(tmp_path)
    assert "not the same storage" in try_storage(folder, name="n", token=b"t")
    (tmp_path / TOKEN_FILE).write_bytes(b"other")
    assert "another file" in try_storage(folder, name="n", token=b"t")
    (tmp_path / TOKEN_FILE).write_bytes(b"t")
    assert try_storage(folder, name="n", token=b"t") == ""
    assert [path.name for path in tmp_path.iterdir()] == [TOKEN_FILE]
    (tmp_path / "n").write_bytes(b"a file where the node's folder should be")
    assert try_storage(folder, name="n", token=b"t").startswith("cannot write: ")


def test_first_frames_tell_pictures_apart_and_name_what_cannot_be_read(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_video(tmp_path / f"{name}.mp4", frames=4, side=32, seed=seed)
    (tmp_path / "d.mp4").write_bytes(b"no video")
    paths = [str(tmp_path / f"{name}.mp4") for name in "abcde"]
    found = list(first_frames(paths).values())
    assert found[0] == found[1] != found[2]
    assert all(text.startswith("error: ") for text in found[3:])
