"""Every figure and table of the paper on a made-up complete study in a real store."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from lstcl_platform.results.report.page import chapter_of, render, write_report
from lstcl_platform.results.report.study import read_study
from tests.helpers.paper_study import OFF, fields_of, open_tracker, record

DELTA = f"+{OFF * 100:.1f}"
PANELS = {"fig2": 4, "fig3": 1, "fig4": 2}
PRINTED = {
    "fig2": {"76.6", "73.5"},
    "fig3": {"76.6", "73.5"},
    "fig4": {"76.6", "73.5"},
    "table1": {"73.9", "74.8", "75.6", "76.6"},
    "table2": {"72.6", "76.2", "76.6"},
    "table3": {"60.4", "76.2", "76.6", "66.2", "73.3", "73.5", "71.1", "76.0", "78.5"},
    "table4": {"60.4", "71.1", "78.5", "79.8"},
    "table5": {"74.7", "82.0", "82.5"},
    "table6": {"38.4", "63.5", "65.6"},
}


def lines_of(table):
    for row in table.rows:
        yield [part for cell in row for part in (cell.text, *cell.notes)]


@pytest.mark.parametrize("study", list(PRINTED))
def test_each_figure_and_table_has_ours_the_papers_and_the_difference(chapters, study):
    results = chapters[study].sections[0]
    (drawing,) = results.drawings
    assert drawing.name == {"fig": "figure", "tab": "table"}[study[:3]] + study[-1]
    assert len(drawing.panels) == PANELS.get(study, 1)
    words = [word for line in lines_of(results.tables[0]) for word in line]
    for value in PRINTED[study]:
        assert any(re.search(rf"\b{re.escape(value)}\b", word) for word in words), value
        ours = f"{float(value) + OFF * 100:.1f}"
        near = (ours, f"{float(ours) + 0.1:.1f}")  # the mean over seeds 0 and 1 is 0.1 higher
        assert any(word.startswith(near) for word in words), ours
    shown = sum(DELTA in word or "+1.2" in word for word in words)
    assert shown >= len(PRINTED[study])
    assert all(f"(paper {value})" in " ".join(p.alt for p in drawing.panels) for value in PRINTED[study])


def test_the_claims_of_the_figures_are_checked(chapters):
    claims = {study: chapters[study].sections[0].claims for study in chapters}
    assert [claim.holds for claim in claims["fig2"]] == [True, True]
    assert "8: 74.7 → " in claims["fig2"][0].ours.replace("short ", "")
    assert [claim.holds for claim in claims["fig3"]] == [True, True, True]
    assert "gain here +3.1, paper +3.1, difference 0.0" in claims["fig3"][1].ours
    assert [claim.holds for claim in claims["fig4"]] == [True]
    assert not claims["table1"]


def test_tables_of_the_state_of_the_art_keep_all_rows_of_the_paper(chapters):
    rows = {
        study: len(chapters[study].sections[0].tables[0].rows) for study in ("table4", "table5", "table6")
    }
    assert rows == {"table4": 19, "table5": 14, "table6": 10}


class Page(HTMLParser):
    """What a reader's program would stumble over."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.faults = Counter(), Counter(), []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags[tag] += 1
        self.ids[given.get("id")] += 1
        if tag == "svg" and not given.get("aria-label"):
            self.faults.append("svg without a text")
        if tag == "th" and given.get("scope") not in ("row", "col"):
            self.faults.append("th without scope")
        for name in ("src", "href", "xlink:href"):
            if not (given.get(name) or "#").startswith(("#", "data:")):
                self.faults.append(f"{tag} {name}={given[name]}")


def test_the_page_is_one_accessible_file(chapters):
    text = render([chapters["fig3"], chapters["table2"]])
    page = Page()
    page.feed(text)
    assert page.faults == []
    assert page.tags["table"] == page.tags["caption"] > 15
    assert page.tags["h1"] == 1
    assert not [name for name, count in page.ids.items() if name and count > 1]
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_texts_are_escaped_and_secrets_masked(tmp_path):
    tracker = open_tracker(tmp_path)
    fields = fields_of("table2", description="<script>alert(1)</script>")
    fields["tracking"] = {"uri": "postgresql://me:hunter2@db/mlflow"}
    record(tracker, fields, finished=1)
    path = tmp_path / "out" / "report.html"
    files = write_report(
        tracker, [read_study(tracker, "table2_sampling")], path, figures=tmp_path / "figures"
    )
    text = path.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "postgresql://***@db/mlflow" in text
    assert "hunter2" not in text
    assert "1 of 3" in text, "cells done while the sweep is running"
    assert {file.name for file in files} == {"table2.svg", "table2.png"}
    assert all(file.stat().st_size > 5000 for file in files)


def test_a_study_of_which_nothing_is_done_has_a_report(tmp_path):
    tracker = open_tracker(tmp_path)
    record(tracker, fields_of("table1"), finished=0)
    text = render([chapter_of(tracker, read_study(tracker, "table1_random_strides"))])
    assert "0 of 4" in text
    assert "No trial has finished yet." in text


def test_what_ran_is_counted_and_the_ledger_is_kept(chapters):
    sections = {section.anchor: section for section in chapters["table2"].sections}
    assert list(sections) == [
        "results", "significance", "classes", "asked", "ran", "curves", "features", "bad-videos", "reproduce",
    ]  # fmt: skip
    assert "begun: 15 of 15 stages, in 15 attempts, 1 of which gave way" in sections["ran"].lines[0]
    assert "used by several trials: 3 stages" in sections["ran"].lines[0]
    ledger = list(lines_of(sections["bad-videos"].tables[0]))
    assert ledger[0][:2] == ["archery/000.mp4", "no frames"]
    assert len(ledger) == 6, "one a test"
    health = [line[-1] for line in lines_of(sections["features"].tables[0])]
    assert "collapsed at epoch 10" in health
    words = " ".join(
        word for table in sections["reproduce"].tables for line in lines_of(table) for word in line
    )
    for known in ("torch 2.14.1", "finetune.seed=1", "pretrain.seed=0", "commit"):
        assert known in words
