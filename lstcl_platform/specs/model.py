"""Which backbone a study trains, and on what clip shape."""

from collections.abc import Iterator
from typing import Literal

from lstcl_platform.specs.base import PositiveInt, Relation, Spec

BackboneName = Literal[
    "timesformer_base",
    "timesformer_small",
    "timesformer_tiny",
    "timesformer_micro",
    "swin_base",
    "swin_small",
    "swin_tiny",
    "swin_micro",
    "st_swin_base",
    "st_swin_small",
    "st_swin_tiny",
    "st_swin_micro",
]


class ModelSpec(Spec):
    """A backbone and the clip it sees."""

    name: BackboneName = "st_swin_base"
    """Backbone and size: `timesformer`, `swin` (frame by frame, averaged) or `st_swin` (space-time windows);
    `micro` is small enough to train on a laptop's CPU."""
    frames: PositiveInt = 8
    """Frames in a clip (T)."""
    image_size: PositiveInt = 224
    """Height and width of a clip in pixels."""
    attention: Literal["divided", "joint", "space_only"] = "divided"
    """TimeSformer only. `divided`: over time, then over space; `joint`: over all patches of the clip at once;
    `space_only`: each frame apart."""

    def broken_relations(self) -> Iterator[Relation]:
        """The kind of attention is a TimeSformer's choice."""
        if self.attention != "divided" and not self.name.startswith("timesformer"):
            yield Relation(
                fields=("attention", "name"),
                text=f"attention: {self.attention} is for a timesformer; {self.name} has windows",
            )
