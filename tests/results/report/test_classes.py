import numpy as np
import pytest

from lstcl_platform.results.report.classes import MAX_CLASSES, confusion_table, per_class_table
from lstcl_platform.results.report.predictions import CellPredictions


def cell(label, predicted, name="long=8"):
    label, predicted = np.asarray(label), np.atleast_2d(predicted)
    paths = tuple(f"{video}.mp4" for video in range(len(label)))
    return CellPredictions(
        cell=name, video=np.arange(len(label)), path=paths, label=label, predicted=predicted
    )


def test_accuracy_of_a_class_is_over_its_videos_and_seeds():
    found = cell([0, 0, 1, 1], [[0, 0, 1, 0], [0, 1, 1, -1]])
    table = per_class_table([found], {0: "jump", 1: "run"}, best="long=8")
    assert [[each.text for each in row] for row in table.rows] == [
        ["jump", "2", "75.0"],
        ["run", "2", "50.0"],
    ]


def test_a_line_of_the_matrix_says_what_a_class_was_taken_for():
    found = cell([0, 0, 1, 1], [[0, 1, 1, -1], [0, 0, 1, 1]])
    table = confusion_table(found, {0: "jump", 1: "run"})
    assert [[each.text for each in row] for row in table.rows] == [["jump", "75", "25"], ["run", "0", "75"]]
    assert [row[place + 1].tone for place, row in enumerate(table.rows)] == ["best", "best"]


def test_many_classes_have_their_most_frequent_confusions_listed():
    label = np.repeat(np.arange(MAX_CLASSES + 1), 4)
    predicted = label.copy()
    predicted[:3] = 7
    table = confusion_table(
        cell(label, predicted), {number: f"c{number}" for number in range(MAX_CLASSES + 1)}
    )
    assert [[each.text for each in row] for row in table.rows] == [["c0", "c7", "3", "75.0"]]
    assert table.rows[0][-1].share == pytest.approx(0.75)
