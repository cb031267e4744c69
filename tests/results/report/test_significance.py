import numpy as np
import pytest
from scipy import stats

from lstcl_platform.results.compare import Comparison, summarise
from lstcl_platform.results.report.predictions import CellPredictions
from lstcl_platform.results.report.significance import holm, pairs_of, welch


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_welch_is_scipys():
    first, second = [0.70, 0.72, 0.71], [0.75, 0.79, 0.74, 0.78]
    found = welch(summarise(first), summarise(second))
    assert found == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    assert welch(summarise([0.5]), summarise(second)) is None


def test_pairs_say_which_cell_is_better(chapters):
    (table,) = next(
        section for section in chapters["table2"].sections if section.anchor == "significance"
    ).tables
    assert len(table.rows) == 3
    assert table.caption == "Pairs of cells on the same 60 test videos"
    assert all(row[-1].text == "not told apart" or "is " in row[-1].text for row in table.rows)


def test_a_cell_that_has_predictions_but_no_result_yet_waits():
    seen = {"video": np.arange(2), "path": ("a.mp4", "b.mp4"), "label": np.arange(2)}
    cells = [CellPredictions(cell=name, **seen, predicted=np.zeros((1, 2), int)) for name in ("a", "b")]
    assert pairs_of(cells, Comparison(metric="top1", cells=(), baselines={})) == []
