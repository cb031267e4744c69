"""Tables of a report, as values that the template writes down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "best", "good", "bad", "muted", "warn"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: text, smaller lines under it, how it is coloured.

    Attributes:
        text: what it says.
        notes: smaller lines below.
        tone: what it means, never by colour alone.
        number: a number: digits of equal width, never broken.
        code: written in a typewriter face.
        share: of the cell's width or colour that is filled, in [0, 1], for bars and heat maps; None for none.
    """

    text: str
    notes: tuple[str, ...] = ()
    tone: Tone = ""
    number: bool = False
    code: bool = False
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a header line and, in every line, `row_heads` cells that name it.

    Attributes:
        caption: what the table holds.
        head: names of the columns.
        rows: lines of cells, as many as `head`.
        row_heads: leading cells of a line that are its name.
        kind: ``plain``, ``bars`` (shares as lengths) or ``heat`` (shares as depth of colour).
        note: below the table.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]] = field(default_factory=list)
    row_heads: int = 1
    kind: Literal["plain", "bars", "heat"] = "plain"
    note: str = ""


def text(value: object, *, tone: Tone = "", code: bool = False) -> Cell:
    """A cell of words."""
    return Cell(text=str(value), tone=tone, code=code)


def figure(value: str, *notes: str, tone: Tone = "") -> Cell:
    """A cell with a number."""
    return Cell(text=value, notes=notes, tone=tone, number=True)


NOTHING = Cell(text="–", tone="muted", number=True)
"""Where there is no value."""
