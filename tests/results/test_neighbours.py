import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest

from lstcl_platform.results.neighbours import draw_neighbours, nearest
from lstcl_platform.specs.errors import UserError
from tests.helpers.videos import make_video

FEATURES = [[1.0, 0.0], [0.9, 0.1], None, [0.0, 2.0], [0.1, 1.0]]


def table(names=("a", "a", "a", "b", "a"), features=FEATURES):
    return pa.table(
        {
            "path": [f"{row}.mp4" for row in range(len(features))],
            "label_name": list(names)[: len(features)],
            "features": pa.array(features, pa.list_(pa.float32(), 2)),
        }
    )


def test_neighbours_are_the_nearest_others_whatever_the_length_of_a_feature():
    found = nearest(table(), count=2)
    assert found.paths == ("0.mp4", "1.mp4", "3.mp4", "4.mp4")
    assert found.near[:, 0].tolist() == [1, 0, 3, 2]
    unit = np.array([1.0, 0.0]) @ np.array([0.9, 0.1]) / np.hypot(0.9, 0.1)
    assert found.similarity[0, 0] == pytest.approx(unit, abs=1e-6)
    assert found.agreement == 0.5
    assert nearest(table(names=[""] * 5), count=9).agreement is None
    assert nearest(table(), count=9).near.shape == (4, 3)


def test_one_video_has_no_neighbour():
    with pytest.raises(UserError, match="features of 1 video, so none"):
        nearest(table(features=[[1.0, 0.0]]), count=1)


def test_a_neighbour_of_another_class_is_framed_in_another_colour(tmp_path):
    for row in (0, 1, 3, 4):
        make_video(tmp_path / f"{row}.mp4", frames=8, side=32, seed=row)
    (tmp_path / "3.mp4").write_text("was lost since")
    draw_neighbours(nearest(table(), count=1), tmp_path / "s.png", root=tmp_path, queries=4)
    picture = np.rint(matplotlib.image.imread(tmp_path / "s.png")[..., :3] * 255).astype(int)
    for color, rows in (((0, 0x72, 0xB2), (0, 1)), ((0xD5, 0x5E, 0), (2, 3))):
        places = np.flatnonzero((picture == color).all(axis=2).sum(axis=1) > 50)
        shares = places / len(picture)
        assert len(places), "no frame of this colour"
        assert all(0.5 * (rows[0] // 2) <= share <= 0.5 * (rows[0] // 2) + 0.55 for share in shares)
