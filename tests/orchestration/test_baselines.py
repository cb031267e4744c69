import numpy as np
import pytest

from lstcl_platform.orchestration.baselines import launch_baselines
from lstcl_platform.orchestration.prepare import prepare_data
from lstcl_platform.orchestration.progress import SilentView
from lstcl_platform.specs import expand
from lstcl_platform.specs.loading import parse_experiment
from lstcl_platform.video.synthetic import encode_h264

COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}


class Told(SilentView):
    """A view that keeps what it is told."""

    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def write_fold(folder, **lists):
    """`train.csv` and `val.csv`, each video as `<class>` shown in its own colour, or `<class>:<colour>`."""
    for split, videos in lists.items():
        rows = []
        for number, video in enumerate(videos):
            label, _, colour = video.partition(":")
            path = folder / split / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((16, 32, 32, 3), COLOURS[colour or label], np.uint8)
            path.write_bytes(encode_h264(pixels))
            rows.append(f"{split}/{number}.mp4,{label}")
        (folder / f"{split}.csv").write_text("\n".join(["path,label", *rows]) + "\n")


def test_folds_count_with_the_weight_of_their_test_videos(tmp_path):
    write_fold(tmp_path / "fold0", train=["red", "red", "blue"], val=["red", "blue"])
    write_fold(tmp_path / "fold1", train=["red", "blue", "blue"], val=["red", "red", "blue:red", "red"])
    folds = [{"train": f"fold{i}/train.csv", "val": f"fold{i}/val.csv"} for i in range(2)]
    values = {
        "name": "study",
        "data": folds[0],
        "model": {"frames": 2},
        "pretrain": None,
        "finetune": {"stride": 1, "batch_size": 2},
        "sweep": {"grid": {"data": folds, "finetune.seed": [0, 1]}},
    }
    trials = expand(parse_experiment(values, origin="test", folder=tmp_path)).trials
    view = Told()
    data = prepare_data(trials, storage=tmp_path / "runs", view=view)
    view.messages.clear()
    found = launch_baselines(trials, data, storage=tmp_path / "runs", view=view)
    # Right are by the majority 1 of 2 and 1 of 4, by colour 2 of 2 and 3 of 4.
    assert found["baseline_majority"] == pytest.approx(2 / 6)
    assert found["baseline_mean_frame"] == pytest.approx(5 / 6)
    assert len(view.messages) == 2
    assert launch_baselines(trials, data, storage=tmp_path / "runs", view=view) == found
    assert len(view.messages) == 2
