"""Which cell of the paper's studies each printed number belongs to."""

import pytest

from lstcl_platform.results.published import printed_for, sota_rows
from lstcl_platform.specs import expand, load_experiment
from tests.helpers.paper_study import EXPERIMENTS, STUDIES

TOY = EXPERIMENTS / "overrides" / "toy.yaml"


def printed(study, *, files=()):
    spec = (
        load_experiment(STUDIES[study], override_files=list(files))
        if files
        else load_experiment(STUDIES[study])
    )
    found = {trial.name: printed_for(spec.published, trial.spec) for trial in expand(spec).trials}
    return {name: round(row.values["top1"] * 100, 1) for name, row in found.items() if row is not None}


def test_every_row_of_the_tables_has_one_cell():
    assert printed("table1") == {"long_drawn": 73.9, "short_drawn": 74.8, "both_drawn": 75.6, "fixed": 76.6}
    assert list(printed("table2").values()) == [72.6, 76.2, 76.6]
    assert list(printed("table3").values()) == [60.4, 76.2, 76.6, 66.2, 73.3, 73.5, 71.1, 76.0, 78.5]
    assert list(printed("table4").values()) == [60.4, 71.1, 78.5, 79.8]
    assert list(printed("table5").values()) == [74.7, 82.0, 82.5]
    assert list(printed("table6").values()) == [38.4, 63.5, 65.6]


def test_figures_have_the_two_points_of_the_text():
    assert printed("fig2") == {"short=8 long=8": 73.5, "short=8 long=32": 76.6}
    assert printed("fig3") == {"framework=moco_v3 long=8": 73.5, "framework=moco_v3 long=32": 76.6}
    assert set(printed("fig4").values()) == {73.5, 76.6}
    assert len(printed("fig4")) == 2, "only finetuned at stride 8"


def test_a_study_at_toy_size_has_the_same_roles():
    assert printed("fig2", files=[TOY]) == printed("fig2")
    assert printed("table4", files=[TOY]) == printed("table4")


@pytest.mark.parametrize(("study", "own"), [("table4", 4), ("table5", 3), ("table6", 3)])
def test_rows_of_others_are_nobodys(study, own):
    assert sum(is_of is not None for _, is_of in sota_rows(study)) == own
