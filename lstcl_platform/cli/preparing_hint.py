"""When a person should hear of `data prepare`."""

from collections.abc import Sequence

from lstcl_platform.specs.wording import numbered

PREPARED_SIDE = 256
"""Pixels on the short side of a prepared video, by default."""
_WORTH_PREPARING = 1.5
"""Above this many times the prepared side, decoding costs more than twice as much."""


def preparing_hint(short_sides: Sequence[int]) -> str | None:
    """What to say of videos with these short sides in pixels; None unless most are large."""
    large = sum(side > PREPARED_SIDE * _WORTH_PREPARING for side in short_sides)
    if large * 2 <= len(short_sides):
        return None
    return (
        f"{large} of {numbered(len(short_sides), 'video')} much larger than clips need: `lstcl-platform data prepare` "
        f"makes copies with {PREPARED_SIDE} pixels on the short side, and says how much faster they are"
    )
