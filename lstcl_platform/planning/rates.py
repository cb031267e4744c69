"""How fast stages are: measured by earlier runs or by `bench`, or assumed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from lstcl_platform.planning.files import load_described
from lstcl_platform.specs.base import PositiveInt, Spec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import BackboneName, ModelSpec
from lstcl_platform.specs.stages import Stage

Positive = Annotated[float, Field(gt=0)]
Guess = tuple[Positive, Positive, Positive]


class StageRateSpec(Spec):
    """What was measured of one stage; what is null was not."""

    stage: Literal["pretrain", "probe", "finetune", "evaluate"]
    """Kind of the stage."""
    model: BackboneName
    """Backbone."""
    attention: Literal["divided", "joint", "space_only"] = "divided"
    """As `model.attention`."""
    frames: PositiveInt
    """Frames of a clip."""
    image_size: PositiveInt
    """Pixels."""
    framework: Literal["moco_v3", "byol", "simsiam"] | None = None
    """Of a pretraining."""
    views: PositiveInt = 1
    """Clips x crops of a tested video; 1 elsewhere."""
    device: str = "cpu"
    """Name of the GPU as torch tells it, or `cpu`."""
    samples_per_second: Positive | None = None
    """Videos that one worker handles in a second while it does not wait for data."""
    decode_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds of one core to decode a video's clips; 0 where `samples_per_second` includes all waiting."""
    start_seconds: Positive | None = None
    """From the start of an attempt to its first batch."""
    end_seconds: Annotated[float, Field(ge=0)] | None = None
    """From the last step to the end of the stage."""


class AssumptionsSpec(Spec):
    """What is taken where nothing is measured: three values each, low, expected and high."""

    mfu: Guess = (0.2, 0.35, 0.5)
    """Share of a GPU's `peak_tflops` that training reaches."""
    cpu_gflops: Guess = (10.0, 30.0, 60.0)
    """10^9 operations a second of one training thread on a CPU."""
    clip_decode_seconds: Guess = (0.02, 0.045, 0.1)
    """Seconds of one core to decode a clip: 8 frames of a 10 s video with 256 pixels on the short side."""
    start_seconds: Guess = (8.0, 20.0, 60.0)
    """Of a stage, from the start of an attempt to its first batch."""
    end_seconds: Guess = (1.0, 3.0, 10.0)
    """Of a stage, from the last step to its end."""
    launch_seconds: Guess = (5.0, 15.0, 60.0)
    """From the command to the first stage."""
    start_cores: Positive = 1.25
    """Cores that are busy while a stage starts."""


class RatesSpec(Spec):
    """Measured stages, and assumptions for the rest."""

    stages: list[StageRateSpec] = Field(default_factory=list)
    """What was measured, the most telling first."""
    launch_seconds: list[Positive] = Field(default_factory=list)
    """Measured: from the command to the first stage."""
    assume: AssumptionsSpec = AssumptionsSpec()
    """What is taken where nothing is measured."""


def load_rates(path: Path) -> RatesSpec:
    """Read a file of rates.

    Raises:
        UserError: everything that is wrong with it.
    """
    return load_described(path, RatesSpec, kind="rates")


def add_rate(path: Path, rate: StageRateSpec) -> None:
    """Write what was measured into a file of rates, which is made if there is none.

    What is there of the same kind of stage, model and device is replaced where `rate` has a value; all else stays, but
    for comments.

    Raises:
        UserError: the file is wrong, or cannot be written.
    """
    known = load_rates(path) if path.exists() else RatesSpec()
    earlier = next((other for other in known.stages if _key(other) == _key(rate)), rate)
    joined = earlier.model_copy(update=rate.model_dump(exclude_none=True))
    stages = [joined, *(other for other in known.stages if _key(other) != _key(rate))]
    values = known.model_copy(update={"stages": stages}).model_dump(mode="json", exclude_defaults=True)
    try:
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--rates {path}: {error.strerror or error}") from error


def views_of(stage: Stage) -> int:
    """Clips x crops of a video that a stage tests; 1 for training."""
    evaluate = stage.spec.evaluate
    return evaluate.clips * evaluate.crops if stage.kind in ("probe", "evaluate") else 1


def framework_of(stage: Stage) -> Literal["moco_v3", "byol", "simsiam"] | None:
    """Framework of a pretraining, else None."""
    return stage.spec.pretrain.framework.kind if stage.kind == "pretrain" and stage.spec.pretrain else None


def rates_of(stage: Stage, rates: Sequence[StageRateSpec], *, device: str) -> list[StageRateSpec]:
    """Those that were measured of such a stage: its kind, model, clips and framework, on that device."""
    return [rate for rate in rates_of_kind(stage, rates) if rate.device == device]


def rates_of_kind(stage: Stage, rates: Sequence[StageRateSpec]) -> list[StageRateSpec]:
    """The same on any device: decoding does not depend on it."""
    same = _model_key(stage.spec.model), stage.kind, framework_of(stage), views_of(stage)
    return [rate for rate in rates if _key(rate)[:-1] == same]


def _key(rate: StageRateSpec) -> tuple[object, ...]:
    model = (rate.model, rate.attention, rate.frames, rate.image_size)
    return model, rate.stage, rate.framework, rate.views, rate.device


def _model_key(model: ModelSpec) -> object:
    return model.name, model.attention, model.frames, model.image_size
