import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib.figure import Figure

from lstcl_platform.results.drawing import INK, SERIES, Drawing, Mark, Panel, epoch_axis, inline_svg, save


def panel():
    def draw(axes):
        axes.plot([0, 1], [0, 1], color=SERIES[1])
        axes.set_xlabel("x < y")

    return Panel(title="a line", alt='rises from "0" to 1 & more', draw=draw)


def test_an_inline_panel_takes_its_colours_and_its_size_from_the_page():
    text = inline_svg(panel(), name="f7")
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'rises from "0" to 1 & more'
    assert root.attrib["role"] == "img"
    assert not {"width", "height"} & root.attrib.keys()
    assert "var(--series-1)" in text
    assert "var(--ink)" in text
    assert INK not in text
    ids = [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
    assert ids
    assert all(each.startswith("f7-") for each in ids)
    assert inline_svg(panel(), name="f7") == text


def test_files_hold_all_panels_in_fixed_colours(tmp_path):
    drawing = Drawing(
        name="two", title="t", note="", panels=[panel(), panel()], legend=[Mark(label="l", color=INK)]
    )
    svg, png = save(drawing, tmp_path / "new")
    assert [svg.name, png.name] == ["two.svg", "two.png"]
    assert svg.read_text().count('<g id="axes_') == 2
    assert "var(" not in svg.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("last", [0.2, 1.0, 2.0, 8.0, 37.5, 200.0])
def test_an_axis_of_epochs_has_whole_numbers_and_shows_the_last_one(last):
    axes = Figure().add_subplot()
    axes.plot([last / 2, last], [1.0, 2.0])
    epoch_axis(axes, "epoch", last=last)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 8
    assert all(tick == int(tick) for tick in ticks)
    assert low == 0 < last <= high
