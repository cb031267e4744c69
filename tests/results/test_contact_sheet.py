from dataclasses import asdict

import matplotlib.image
import numpy as np
import pytest

from lstcl_platform.results.contact_sheet import draw_sheet, views_of
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.training import ClipPairSpec, PretrainSpec
from lstcl_platform.video.decoding import read_frames
from lstcl_platform.video.indexing import manifest_of
from lstcl_platform.video.layouts.listing import Listed, Listing
from lstcl_platform.video.probe import probe
from tests.helpers.videos import make_video


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    path = make_video(tmp_path_factory.mktemp("v") / "v.mp4", frames=60, fps=25, side=48, width=64)
    listing = Listing(root=path.parent, videos=[Listed(path.name, 0, "")])
    video = manifest_of(listing, [asdict(probe(path))]).row(0)
    spec = PretrainSpec(clips=ClipPairSpec(short_stride=2, long_stride=8))
    return path, views_of(path, video, spec, frames=4, size=32, target_fps=30.0, epoch=1)


def test_times_and_frames_are_those_of_the_file(shown):
    path, views = shown
    assert [view.name for view in views] == ["short", "long"]
    for view in views:
        indices = np.round(view.seconds * 25).astype(int)
        assert np.allclose(view.seconds, indices / 25)
        assert np.array_equal(view.whole, read_frames(path, indices))
    spans = [view.seconds[-1] - view.seconds[0] for view in views]
    assert spans[1] > 2 * spans[0]


def test_augmented_pixels_are_visible_again(shown):
    _, views = shown
    for view in views:
        assert view.augmented.shape == view.cropped.shape == (4, 32, 32, 3)
        assert 0 <= view.augmented.min() < view.augmented.max() <= 1
        if view.augment.tolist() == [1, 1, 1, 0, 0, 0, 0]:
            assert np.allclose(view.augmented, view.cropped / 255, atol=1e-5)


def test_the_sheet_holds_the_frames(shown, tmp_path):
    _, views = shown
    draw_sheet(views, tmp_path / "out" / "sheet.png", title="v.mp4", duration=2.4)
    picture = matplotlib.image.imread(tmp_path / "out" / "sheet.png")
    assert picture.shape[0] > 600
    assert picture.shape[1] > 500
    assert len(np.unique((picture[..., :3] * 15).astype(int).reshape(-1, 3), axis=0)) > 100
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="-o"):
        draw_sheet(views, tmp_path / "file" / "sheet.png", title="v.mp4", duration=2.4)
