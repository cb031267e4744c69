"""The arithmetic of a stage: multiply-accumulates of its model, and what one sample of training takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from lstcl_platform.specs.frameworks import FrameworkSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.stages import Stage

COUNTED = "model_costs.txt"
"""Counts of the models of the studies, since counting takes torch, which takes longer to load than a plan may take.
A line is: name attention frames image_size multiply-accumulates parameters feature_dim."""


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """Size of a backbone.

    Attributes:
        macs: multiply-accumulates of one clip, attention included.
        parameters: without a classifier.
        feature_dim: width of its feature.
    """

    macs: int
    parameters: int
    feature_dim: int


@cache
def cost_of(model: ModelSpec) -> ModelCost:
    """Cost of a model: looked up where it is known, else counted, for which torch is loaded."""
    known = counted_costs().get((model.name, model.attention, model.frames, model.image_size))
    if known is not None:
        return known
    from lstcl_platform.models.cost import model_cost

    cost = model_cost(model)
    return ModelCost(macs=cost.macs("all"), parameters=cost.parameters, feature_dim=cost.feature_dim)


def is_counted(model: ModelSpec) -> bool:
    """Whether `cost_of` answers at once."""
    return (model.name, model.attention, model.frames, model.image_size) in counted_costs()


@cache
def counted_costs() -> dict[tuple[str, str, int, int], ModelCost]:
    """(name, attention, frames, image_size) -> what `models.cost` counts of it."""
    found = {}
    for line in files(__package__).joinpath(COUNTED).read_text().splitlines():
        name, attention, *numbers = line.split()
        frames, size, macs, parameters, width = map(int, numbers)
        found[name, attention, frames, size] = ModelCost(macs=macs, parameters=parameters, feature_dim=width)
    return found


def sample_flops(stage: Stage) -> float:
    """Floating-point operations that one video takes in a stage, two a multiply-accumulate, of the backbone.

    Backward counts as two forward passes. Heads and losses are left out (about 1 % at the paper's sizes), and so is
    what is computed a second time to save memory.
    """
    spec, forward = stage.spec, 2.0 * cost_of(_plain(stage.spec.model)).macs
    if stage.kind == "pretrain":
        assert spec.pretrain is not None
        momentum = 0 if isinstance(spec.pretrain.framework, SimSiamSpec) else 1
        return 2 * forward * (3 + momentum)
    if stage.kind == "finetune":
        return 3 * forward
    return forward * spec.evaluate.clips * spec.evaluate.crops


def recomputed(stage: Stage) -> float:
    """How many times the arithmetic of `sample_flops` is done in fact, where memory is saved by computing again."""
    spec = stage.spec
    if stage.kind not in ("pretrain", "finetune"):
        return 1.0
    passes = 4.0 if stage.kind == "pretrain" and _has_momentum(stage) else 3.0
    more = 1.0 if spec.resources.checkpoint_activations else 0.0
    if stage.kind == "pretrain" and spec.pretrain is not None:
        more += 1.0 if spec.pretrain.accumulation_steps > spec.pretrain.contrasts else 0.0
    return (passes + more) / passes


def trained_bytes(stage: Stage) -> tuple[float, float]:
    """Bytes of a training stage's checkpoint and of its final weights; zeros for a test.

    A checkpoint holds every trained parameter and its two moments, and the momentum encoder, at 4 bytes each.
    """
    cost = cost_of(_plain(stage.spec.model))
    if stage.kind not in ("pretrain", "finetune"):
        return 0.0, 0.0
    heads = 0
    if stage.kind == "pretrain" and stage.spec.pretrain is not None:
        heads = sum(
            before * after for before, after in _heads(stage.spec.pretrain.framework, cost.feature_dim)
        )
    copies = 4 if _has_momentum(stage) else 3
    return 4.0 * copies * (cost.parameters + heads), 4.0 * cost.parameters


def _has_momentum(stage: Stage) -> bool:
    spec = stage.spec.pretrain
    return stage.kind == "pretrain" and spec is not None and not isinstance(spec.framework, SimSiamSpec)


def _heads(framework: FrameworkSpec, width: int) -> Iterator[tuple[int, int]]:
    """Widths of the linear layers of projector and predictor."""
    hidden, out = framework.projector_hidden or width, framework.output_dim
    three = isinstance(framework, MoCoV3Spec) or (
        isinstance(framework, SimSiamSpec) and framework.heads == "simsiam"
    )
    yield from pairwise((width, hidden, hidden, out) if three else (width, hidden, out))
    yield from pairwise((out, framework.predictor_hidden, out))


def _plain(model: ModelSpec) -> ModelSpec:
    """The model without its initial weights, which cost nothing."""
    return model if model.init is None else model.model_copy(update={"init": None})
