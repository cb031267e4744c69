import json
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

from lstcl_platform.specs.data import SyntheticSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.video import synthetic
from lstcl_platform.video.baselines import average_down, hue_histograms
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.synthetic import CLASSES, encode_h264, is_complete, render_video, synthesize

SMALL = SyntheticSpec(train_videos=12, val_videos=6, side=16, seconds=1.0)
LOOKS = SyntheticSpec(side=32, seconds=10.0)


def render(folder: Path, spec: SyntheticSpec = SMALL, *, processes: int = 1) -> int:
    return synthesize(spec, train=folder / "train", val=folder / "val", processes=processes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.mp4")}


@pytest.fixture(scope="module")
def looks() -> tuple[np.ndarray, np.ndarray]:
    """20 small frames of each of 180 videos, and the classes."""
    every = range(0, 300, 15)
    small = [average_down(render_video(LOOKS, "train", i)[every], side=8) for i in range(180)]
    return np.stack(small), np.arange(180) % len(CLASSES)


def leave_one_out(features: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of the class of the nearest other video."""
    flat = features.reshape(len(features), -1)
    distances = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(np.mean(labels[distances.argmin(axis=1)] == labels))


def test_classes_have_equal_shares(tmp_path):
    assert render(tmp_path) == 18
    train, val = index_videos(tmp_path / "train"), index_videos(tmp_path / "val")
    assert train.classes == val.classes == sorted(CLASSES)
    assert np.bincount(train.labels).tolist() == [2] * 6
    assert np.bincount(val.labels).tolist() == [1] * 6
    assert train.problems == val.problems == []


def test_videos_are_h264_at_30_frames_a_second(tmp_path):
    render(tmp_path)
    with av.open(str(next((tmp_path / "train").rglob("*.mp4")))) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, len(frames)) == (30, 30)
        assert (stream.width, stream.height) == (16, 16)


def test_the_encoded_picture_is_the_rendered_one(tmp_path):
    frames = render_video(SMALL, "train", 3)
    path = tmp_path / "video.mp4"
    path.write_bytes(encode_h264(frames))
    with av.open(str(path)) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.abs(decoded.astype(int) - frames).mean() < 12


def test_equal_specs_give_equal_files_whatever_the_number_of_processes(tmp_path):
    render(tmp_path / "a", processes=1)
    render(tmp_path / "b", processes=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_seed_split_and_index_each_change_the_video():
    first = render_video(SMALL, "train", 0)
    others = [
        render_video(SMALL, "val", 0),
        render_video(SMALL, "train", 6),
        render_video(SMALL.model_copy(update={"seed": 1}), "train", 0),
    ]
    assert np.array_equal(first, render_video(SMALL, "train", 0))
    assert all(not np.array_equal(first, other) for other in others)


def test_a_finished_set_is_left_alone(tmp_path):
    render(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert render(tmp_path) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_an_interrupted_set_is_completed(tmp_path):
    render(tmp_path / "whole")

    def interrupt(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        synthesize(SMALL, train=cut / "train", val=cut / "val", processes=1, progress=interrupt)
    assert not is_complete(cut / "train")
    assert len(contents(cut)) == 7
    half_written = cut / "train" / CLASSES[0] / ".train-00006.mp4.123.tmp"
    half_written.write_bytes(b"half")
    assert render(cut) == 18 - 7
    assert is_complete(cut / "train")
    assert is_complete(cut / "val")
    assert not half_written.exists()
    assert contents(cut) == contents(tmp_path / "whole")


def test_a_folder_claimed_before_its_first_video_is_completed(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / f".{synthetic.MARKER}.99.tmp").write_bytes(b"{")
    assert render(tmp_path) == 18


def test_foreign_files_are_not_mixed_with(tmp_path):
    (tmp_path / "train" / "cats").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no synthetic set"):
        render(tmp_path)
    assert not list(tmp_path.rglob("*.mp4"))


@pytest.mark.parametrize("change", [{"seed": 1}, {"side": 18}, {"train_videos": 18}, {"seconds": 2.0}])
def test_a_set_of_other_settings_is_refused(tmp_path, change):
    render(tmp_path)
    with pytest.raises(UserError, match="rendered from other settings"):
        render(tmp_path, SMALL.model_copy(update=change))


def test_a_set_rendered_by_another_format_is_refused(tmp_path):
    render(tmp_path)
    marker = tmp_path / "val" / synthetic.MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "format": synthetic.FORMAT - 1}))
    with pytest.raises(UserError, match="rendered from other settings"):
        render(tmp_path)


def test_more_validation_videos_leave_the_training_set_as_it_is(tmp_path):
    render(tmp_path)
    more = SMALL.model_copy(update={"val_videos": 12})
    assert synthesize(more, train=tmp_path / "train", val=tmp_path / "val_12", processes=1) == 12


def test_an_odd_side_is_refused():
    with pytest.raises(ValidationError, match="multiple of 2"):
        SyntheticSpec(side=17)


def test_one_frame_does_not_show_the_class(looks):
    # A frame shows one hue of two: with it known exactly, a guess is right once in three. Two standard errors.
    frames, labels = looks
    scores = [leave_one_out(frames[:, moment], labels) for moment in range(0, 20, 4)]
    assert np.mean(scores) < 1 / 3 + 0.07


def test_the_mean_frame_hardly_shows_the_class(looks):
    # 0.32 to 0.40 over seeds, chance 0.17: traces of both hues along the path. A fixed place for each hue would
    # score 0.99.
    frames, labels = looks
    assert leave_one_out(frames.mean(axis=1), labels) < 0.5


def test_the_mean_colour_of_frames_says_nothing(looks):
    # Three standard errors above chance.
    frames, labels = looks
    assert leave_one_out(frames.mean(axis=(1, 2, 3)), labels) < 1 / 6 + 0.085


def test_hues_over_the_whole_video_show_the_class(looks):
    # The signal is there to be learnt.
    frames, labels = looks
    assert leave_one_out(hue_histograms(frames), labels) > 0.6
