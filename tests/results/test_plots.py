from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.plots import plot_comparison
from lstcl_platform.specs import UserError
from lstcl_platform.tracking.records import TrialResult
from tests.results.conftest import MakeTrial


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, which are really saved too."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **kwargs: object) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def axes_of(figures: list[Figure]) -> Axes:
    (figure,) = figures
    return figure.axes[0]


def assert_no_text_is_cut(figure: Figure) -> None:
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    boxes = [
        text.get_window_extent(renderer) for text in (*figure.texts, *figure.axes[0].texts, *figure.legends)
    ]
    assert all(box.y0 >= -1 and box.y1 <= height + 1 and box.x1 <= width + 1 for box in boxes)
    boxes += [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    assert all(box.x0 >= -1 for box in boxes)


def test_strides_become_lines_and_scratch_a_dashed_line(
    stride_trials: list[TrialResult], tmp_path: Path, drawn: list[Figure]
) -> None:
    plot_comparison(compare_trials(stride_trials), tmp_path / "new" / "f.png")
    axes = axes_of(drawn)
    assert [text.get_text() for text in drawn[0].legends[0].texts] == [r"$\tau_S$ = 8", "scratch"]
    line, *_ = axes.containers[0]
    assert list(line.get_xdata()) == [8, 32]
    assert list(line.get_ydata()) == pytest.approx([60.5, 71.0])
    dashed = [item for item in axes.lines if item.get_linestyle() == "--"]
    assert [item.get_ydata()[0] for item in dashed] == [50]
    assert axes.get_ylabel() == "top-1 accuracy (%)"
    assert (tmp_path / "new" / "f.png").read_bytes().startswith(b"\x89PNG")
    assert_no_text_is_cut(drawn[0])


def test_without_strides_each_cell_is_a_bar(
    make_trial: MakeTrial, tmp_path: Path, drawn: list[Figure]
) -> None:
    trials = [
        make_trial(f"a long name of a framework {n} seed={seed}", {"kind": n, "seed": seed}, top1=0.1 * n)
        for n in range(1, 4)
        for seed in range(2)
    ]
    launch = {"study": {"baseline_majority": 0.05, "baseline_mean_frame": 0.25}}
    plot_comparison(compare_trials(trials, launch_metrics=launch), tmp_path / "f.png")
    axes = axes_of(drawn)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 20, 30])
    assert [text.get_text() for text in axes.texts] == ["10.0", "20.0", "30.0"]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == [
        "majority class",
        "nearest neighbour on the mean frame",
    ]
    assert_no_text_is_cut(drawn[0])


def test_nothing_finished_is_told(make_trial: MakeTrial, tmp_path: Path) -> None:
    trials = [make_trial("a", {"x": 1}, status="running")]
    with pytest.raises(UserError, match="no finished trial of study yet"):
        plot_comparison(compare_trials(trials), tmp_path / "f.png")


def test_unknown_picture_format_is_told(stride_trials: list[TrialResult], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Format 'txt' is not supported"):
        plot_comparison(compare_trials(stride_trials), tmp_path / "f.txt")
