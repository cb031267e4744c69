from pathlib import Path

import numpy as np
import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.baselines import average_down, baselines, hue_histograms
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.manifest import Manifest
from lstcl_platform.video.synthetic import encode_h264
from tests.helpers.videos import damage

RED, GREEN, BLUE = (220, 40, 40), (40, 200, 40), (40, 40, 220)


def write(path: Path, *colours: tuple[int, int, int]) -> None:
    """A video of plain pictures, each colour for an equal share of 32 frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.repeat(np.array(colours, np.uint8), 32 // len(colours), axis=0)
    path.write_bytes(encode_h264(np.broadcast_to(frames[:, None, None], (32, 32, 32, 3)).copy()))


def split(folder: Path, videos: dict[str, tuple[tuple[int, int, int], ...]]) -> Manifest:
    for name, colours in videos.items():
        write(folder / f"{name}.mp4", *colours)
    return index_videos(folder)


def test_a_constant_colour_is_seen_by_all_but_the_majority(tmp_path):
    train = split(tmp_path / "train", {"a/0": (RED,), "a/1": (RED,), "a/2": (RED,), "b/0": (BLUE,)})
    val = split(tmp_path / "val", {"a/0": (RED,), "b/0": (BLUE,), "b/1": (BLUE,), "b/2": (BLUE,)})
    assert baselines(train, val) == {
        "majority": 0.25,
        "mean_frame": 1.0,
        "random_frame": 1.0,
        "hue_histogram": 1.0,
    }


def test_what_only_the_order_tells_is_seen_by_none(tmp_path):
    videos = {"a/0": (RED, BLUE), "b/0": (BLUE, RED)}
    found = baselines(split(tmp_path / "train", videos), split(tmp_path / "val", videos))
    # Means and histograms are equal but for the codec's rounding, so right and wrong go by chance; what must
    # not happen is that the random frames, half of each colour, find the class.
    assert 0.0 <= found["random_frame"] <= 0.9


def test_random_frames_depend_on_the_seed_only(tmp_path):
    videos = {f"{name}/{i}": colours for i in range(4) for name, colours in _TWO_OF_THREE.items()}
    train, val = split(tmp_path / "train", videos), split(tmp_path / "val", videos)
    scores = [baselines(train, val, seed=seed)["random_frame"] for seed in (0, 0, 1, 2, 3)]
    assert scores[0] == scores[1]
    assert len(set(scores)) > 1
    # One frame leaves two classes of three.
    assert np.mean(scores) < 0.75
    assert baselines(train, val)["mean_frame"] == 1.0


_TWO_OF_THREE = {"rg": (RED, GREEN), "gb": (GREEN, BLUE), "rb": (RED, BLUE)}


def test_a_damaged_video_is_wrong_in_val_and_left_out_of_train(tmp_path):
    good = {"a/0": (RED,), "a/1": (RED,), "b/0": (BLUE,), "b/1": (BLUE,)}
    train, val = split(tmp_path / "train", good), split(tmp_path / "val", good)
    for manifest, victim in ((train, "a/0.mp4"), (val, "b/1.mp4")):
        damage(manifest.root / victim, start=0.0, length=4000)
    found = baselines(train, val)
    assert found["mean_frame"] == 0.75
    assert found["hue_histogram"] == 0.75


def test_progress_counts_all_videos(tmp_path):
    train = split(tmp_path / "train", {"a/0": (RED,), "b/0": (BLUE,)})
    told: list[tuple[int, int]] = []
    baselines(train, train, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_readable_video_is_an_error(tmp_path):
    train = split(tmp_path / "train", {"a/0": (RED,)})
    damage(train.root / "a/0.mp4", start=0.0, length=4000)
    with pytest.raises(UserError, match="no video that can be decoded"):
        baselines(train, train)


@pytest.mark.parametrize("shape", [(32, 32), (50, 37), (5, 40)])
def test_average_down_keeps_the_mean_of_each_cell(shape):
    frames = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    small = average_down(frames, side=8)
    assert small.shape == (2, 8, 8, 3)
    height, width = shape
    rows = slice(0, max(1, height // 8))
    columns = slice(7 * width // 8, width)
    assert np.allclose(small[:, 0, 7], frames[:, rows, columns].mean(axis=(1, 2)) / 255)


def test_hue_histogram_of_known_colours():
    picture = np.zeros((1, 1, 2, 2, 3))
    picture[0, 0, 0] = (1, 0, 0)
    picture[0, 0, 1] = (0, 0, 1)
    shares = hue_histograms(picture)[0]
    assert shares[0] == shares[8] == 0.5
    assert shares.sum() == pytest.approx(1)


def test_grey_has_no_hue():
    assert not hue_histograms(np.full((1, 1, 2, 2, 3), 0.5)).any()
