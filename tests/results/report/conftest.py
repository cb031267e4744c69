from collections.abc import Mapping

import pytest

from lstcl_platform.results.report.page import Chapter, chapter_of
from lstcl_platform.results.report.study import read_study
from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.paper_study import STUDIES, fields_of, open_tracker, record

SEEDS = {"fig2": (0, 1), "table2": (0, 1)}
SMALLER = {"fig4": {"pretrain.clips.long_stride": [8, 32], "finetune.stride": [4, 8]}}
"""Axes that are shorter than the paper's: 28 cells take seconds to record."""


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """All nine studies of the paper, complete; Table 2's with its stages."""
    folder = tmp_path_factory.mktemp("paper")
    tracker = open_tracker(folder)
    for study in STUDIES:
        fields = fields_of(study, seeds=SEEDS.get(study, ()))
        fields["sweep"].setdefault("grid", {}).update(SMALLER.get(study, {}))
        record(tracker, fields, folder=folder if study == "table2" else None)
    return tracker


@pytest.fixture(scope="session")
def chapters(paper: Tracker) -> Mapping[str, Chapter]:
    """``fig2`` -> its chapter, and so on."""
    return {study: chapter_of(paper, read_study(paper, path.stem)) for study, path in STUDIES.items()}
