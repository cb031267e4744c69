import math

import pytest

from lstcl_platform.results.text import duration, number


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (48, "48 s"),
        (59.7, "1 min"),
        (719, "12 min"),
        (3599, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "0.500"), (0, "0.000"), (1.5e-4, "0.00015"), (123456.0, "1.23e+05"), (math.nan, "nan")],
)
def test_numbers(value: float, expected: str) -> None:
    assert number(value) == expected
