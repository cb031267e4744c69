"""A number that is not known exactly: a low, an expected and a high value."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """low <= expected <= high."""

    low: float
    expected: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> "Span":
        """A value without a range."""
        return cls(value, value, value)

    @classmethod
    def of(cls, values: Iterable[float]) -> "Span":
        """Least, median and largest of some values; of none, zero."""
        ordered = sorted(values)
        if not ordered:
            return cls.exactly(0.0)
        half, odd = divmod(len(ordered), 2)
        median = ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2
        return cls(ordered[0], median, ordered[-1])

    @classmethod
    def total(cls, spans: Iterable["Span"]) -> "Span":
        """Sum whose ends are the sums of the ends: errors of one cause add up, they do not cancel."""
        listed = list(spans)
        return cls(*(math.fsum(getattr(s, end) for s in listed) for end in ("low", "expected", "high")))

    def times(self, factor: float) -> "Span":
        """All three, times a factor from 0."""
        return Span(self.low * factor, self.expected * factor, self.high * factor)

    def widened(self, factor: float) -> "Span":
        """At least from expected / factor to expected * factor."""
        return Span(
            min(self.low, self.expected / factor), self.expected, max(self.high, self.expected * factor)
        )

    def at(self, place: float) -> float:
        """The value at `place` in [-1, 1]: low, expected and high at -1, 0 and 1."""
        end = self.low if place < 0 else self.high
        return self.expected + abs(place) * (end - self.expected)

    def as_json(self) -> dict[str, float]:
        """The three by name."""
        return {"low": self.low, "expected": self.expected, "high": self.high}
