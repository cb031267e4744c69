"""Which backbone a study trains, and on what clip shape."""

from collections.abc import Iterator
from typing import Literal

from lstcl_platform.specs.base import PositiveInt, Relation, Spec
from lstcl_platform.specs.weights import WeightsSpec

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

_FAMILIES = {"timesformer_official": ("timesformer",), "video_swin_official": ("st_swin", "swin")}
"""Kind of weights -> how the names of the backbones that they suit begin."""


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
    init: WeightsSpec | None = None
    """Public weights that training starts from where no earlier stage gives any; null draws them at random."""

    def broken_relations(self) -> Iterator[Relation]:
        """The kind of attention is a TimeSformer's choice; a checkpoint of one family is for that family."""
        if self.attention != "divided" and not self.name.startswith("timesformer"):
            yield Relation(
                fields=("attention", "name"),
                text=f"attention: {self.attention} is for a timesformer; {self.name} has windows",
            )
        family = None if self.init is None else _FAMILIES.get(self.init.kind)
        if self.init is not None and family is not None and not self.name.startswith(family):
            yield Relation(
                fields=("init", "name"),
                text=f"init of kind {self.init.kind} is for a {family[0]}, not for {self.name}",
            )
