"""Which backbone a study trains, and on what clip shape."""

from typing import Literal

from lstcl_platform.specs.base import PositiveInt, Spec

BackboneName = Literal["st_swin_base", "st_swin_small", "st_swin_tiny", "st_swin_micro"]


class ModelSpec(Spec):
    """A backbone and the clip it sees."""

    name: BackboneName = "st_swin_base"
    """Backbone and size; `micro` is small enough to train on a laptop's CPU."""
    frames: PositiveInt = 8
    """Frames in a clip (T)."""
    image_size: PositiveInt = 224
    """Height and width of a clip in pixels."""
