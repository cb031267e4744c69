"""From a framework's spec to the module."""

from lstcl_platform.frameworks.base import Framework
from lstcl_platform.frameworks.byol import BYOL
from lstcl_platform.frameworks.moco_v3 import MoCoV3
from lstcl_platform.frameworks.simsiam import SimSiam
from lstcl_platform.models import Backbone
from lstcl_platform.specs.frameworks import BYOLSpec, FrameworkSpec, MoCoV3Spec, SimSiamSpec


def build_framework(spec: FrameworkSpec, backbone: Backbone) -> Framework:
    """Put heads and loss around a backbone; new weights are drawn from torch's global generator.

    Args:
        spec: Which framework, and its sizes.
        backbone: Is trained in place; its patch convolution is frozen unless the spec says otherwise.

    Returns:
        Module (short, long) -> scalar loss.
    """
    match spec:
        case MoCoV3Spec():
            return MoCoV3(spec, backbone)
        case BYOLSpec():
            return BYOL(spec, backbone)
        case SimSiamSpec():
            return SimSiam(spec, backbone)
