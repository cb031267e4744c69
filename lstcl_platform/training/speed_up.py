"""Ways to run a model's blocks that trade compile time, memory and arithmetic; what they compute stays the same."""

import torch
from torch import nn

from lstcl_platform.models.block import blocks_of
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import ResourcesSpec

_VARIANTS = 64
"""Versions of a compiled block: 4 stages, shifted or not, with gradient or without, with stochastic depth or not."""


def speed_up(model: nn.Module, resources: ResourcesSpec) -> None:
    """Compile the blocks of `model` and let them recompute their activations, as `resources` says, in place.

    Blocks are compiled one by one: equal ones share their code, so a base size compiles a dozen pieces instead of
    one that takes many minutes.

    Raises:
        UserError: compilation is asked for and no C++ compiler is found.
    """
    for block in blocks_of(model):
        block.recomputed = resources.checkpoint_activations
    if resources.compile:
        _require_compiler()
        torch._dynamo.config.recompile_limit = max(_VARIANTS, torch._dynamo.config.recompile_limit)
        for block in blocks_of(model):
            block.compile(dynamic=False)


def _require_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UserError(
            "resources.compile: no C++ compiler was found; install g++ or set CXX, or leave compile off"
        ) from error
