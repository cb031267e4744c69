"""A file's bytes as a bad disk or a broken copy may give them back."""

import random


def damaged(whole: bytes, *, flips: int) -> list[bytes]:
    """`whole` cut short in several places, and `flips` times with one bit turned over; the same in every run."""
    draw = random.Random(0)
    found = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 1)]
    for _ in range(flips):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        found.append(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    return found
