"""`embed` as a user types it, on the shared cluster: the features of the model, in the order of the source."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lstcl_platform.training.probe import clip_features
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.samples import EvaluateSamples
from tests.helpers.study import run_cli
from tests.helpers.trained import make_trained_study
from tests.helpers.videos import make_labelled_folder

pytestmark = pytest.mark.cluster


def test_features_are_those_of_the_model_in_order_and_bad_videos_are_named(tmp_path, ray_address):
    study = make_trained_study(tmp_path)
    folder = make_labelled_folder(tmp_path / "set", classes=2, videos=9, frames=40, side=48)
    (folder / "class_0" / "text.mp4").write_text("no video")
    out, sheet = tmp_path / "f.parquet", tmp_path / "s.png"
    where = ("--storage", tmp_path, "--address", ray_address)
    done = run_cli("embed", "study/best", folder, "-o", out, "--sheet", sheet, "--clips", "1", *where)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "class_0/text.mp4" in done.stderr
    manifest = index_videos(folder)
    manifest.save(tmp_path / "m.parquet")
    table = pq.read_table(out)
    assert table["path"].to_pylist() == manifest.table["path"].to_pylist()
    assert table["label_name"].to_pylist() == manifest.table["label_name"].to_pylist()
    rows = table["features"].to_pylist()
    assert [row is None for row in rows] == [problem is not None for problem in table["problem"].to_pylist()]
    assert sum(row is None for row in rows) == 1
    tested = EvaluateSamples(
        manifest=tmp_path / "m.parquet",
        data=study.spec.data.model_copy(update={"max_bad_fraction": 1.0}),
        model=study.spec.model,
        evaluate=study.spec.evaluate.model_copy(update={"clips": 1}),
        stride=3,
    )(np.arange(18))
    with torch.inference_mode():
        expected = clip_features(
            study.modules["pretrain"].eval(), torch.from_numpy(tested["clips"]), precision="fp32"
        ).numpy()
    found = np.array([row for row in rows if row is not None], dtype=np.float32)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-3, "the videos must differ, or their order shows nothing"
    assert sheet.stat().st_size > 10_000
    assert "of the same class for" in done.stdout
