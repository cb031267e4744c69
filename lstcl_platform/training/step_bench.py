"""How fast a pretraining step is, alone and beside public implementations, alternating in one run."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

import torch
from torch import Tensor

from lstcl_platform.frameworks import Framework, build_framework
from lstcl_platform.models import backbone_of
from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.frameworks import FrameworkSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.specs.training import PretrainAugmentSpec
from lstcl_platform.training.flops import pretraining_flops
from lstcl_platform.training.optimizer import pretrain_optimizer, set_learning_rate
from lstcl_platform.training.precision import autocast, grad_scaler
from lstcl_platform.training.speed_up import speed_up
from lstcl_platform.training.step_memory import peak_memory
from lstcl_platform.training.step_peers import PEERS, build_peer, import_peer, missing_peer, peer_of
from lstcl_platform.training.trainee import Trainee
from lstcl_platform.video.augmentation import augment_clips
from lstcl_platform.video.sampling import AUGMENT_FIELDS

PARTS = (
    "augment",
    "trunk forward",
    "momentum trunk",
    "heads and loss",
    "momentum update",
    "backward",
    "optimizer",
)
"""Parts of a step, in order of their first appearance; together they are the step."""

_Moment = float | torch.cuda.Event


@dataclass(frozen=True, kw_only=True)
class StepSetup:
    """What step is measured.

    Attributes:
        model: backbone and clip.
        framework: heads and loss around it.
        batch: videos a step.
        depth: as in `build_backbone`; None is the model's own.
        precision: of forward and backward.
        resources: of which `compile` and `checkpoint_activations` count.
        device: "cpu" or "cuda".
        threads: torch threads on a CPU.
        peer: measure the public implementation of the model instead of ours.
    """

    model: ModelSpec
    framework: FrameworkSpec
    batch: int
    depth: tuple[int, ...] | None = None
    precision: Precision = "fp32"
    resources: ResourcesSpec = field(default_factory=ResourcesSpec)
    device: str = "cpu"
    threads: int = 1
    peer: bool = False

    @property
    def title(self) -> str:
        """Which implementation, at what precision and with which options."""
        options = [name for name in ("compile", "checkpoint_activations") if getattr(self.resources, name)]
        name = PEERS[peer_of(self.model)] if self.peer else "ours"
        return ", ".join((name, self.precision, *options))

    @classmethod
    def of(cls, trial: TrialSpec) -> "StepSetup | None":
        """The step of a trial's pretraining with 4 videos on a CPU, or None if it has none."""
        spec = trial.pretrain
        if spec is None:
            return None
        return cls(
            model=trial.model,
            framework=spec.framework,
            batch=4,
            precision=spec.precision,
            resources=trial.resources,
        )


@dataclass(kw_only=True)
class StepFigures:
    """What was measured of one implementation.

    Attributes:
        setup: what was run.
        seconds: of each measured step.
        parts: seconds of each of `PARTS`, summed over the measured steps.
        peak_mib: most memory held at a time, in MiB: of the process on a CPU, of tensors on a GPU.
        step_mib: the same without what libraries alone take.
    """

    setup: StepSetup
    seconds: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    peak_mib: float = 0.0
    step_mib: float = 0.0

    @property
    def samples_per_second(self) -> float:
        """At the median step."""
        return self.setup.batch / statistics.median(self.seconds)

    def share(self, part: str) -> float:
        """Of the step's time, in [0, 1]."""
        return self.parts[part] / sum(self.parts.values())


@dataclass(frozen=True, kw_only=True)
class StepRates:
    """What `bench_step` measured.

    Attributes:
        figures: ours first.
        sample_flops: operations that one video takes in a step of ours (and of an equal model).
        clock: what a second is: of CPU time or of wall time.
        missing: why no peer was measured, or None.
    """

    figures: Sequence[StepFigures]
    sample_flops: float
    clock: str
    missing: str | None = None

    def tflops(self, figures: StepFigures) -> float:
        """10^12 operations a second."""
        return figures.samples_per_second * self.sample_flops / 1e12

    def faster_than(self, other: StepFigures) -> float:
        """Median over the rounds of another's time by ours in the same round."""
        pairs = zip(other.seconds, self.figures[0].seconds, strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


class BenchStep:
    """A pretraining step on made-up videos, ready to be run again and again.

    Args:
        setup: which; weights and videos are drawn from a fixed seed.
    """

    def __init__(self, setup: StepSetup) -> None:
        torch.manual_seed(0)
        self.setup = setup
        self.device = torch.device(setup.device)
        build = build_peer if setup.peer else backbone_of
        self.framework: Framework = build_framework(
            setup.framework, build(setup.model, depth=setup.depth)
        ).to(self.device)
        speed_up(self.framework, setup.resources)
        self.trainee = Trainee(
            model=self.framework,
            optimizer=pretrain_optimizer(self.framework, weight_decay=0.1),
            scaler=grad_scaler(setup.precision, self.device),
            device=self.device,
        )
        set_learning_rate(self.trainee.optimizer, 1e-4)
        size = setup.model.image_size
        shape = (2, setup.batch, setup.model.frames, size, size, 3)
        self.videos = torch.randint(0, 256, shape, dtype=torch.uint8).to(self.device)
        self.parameters = _augment_parameters(setup.batch)
        self._marks: list[tuple[str, _Moment]] = []
        self._watch_parts()

    def __call__(self) -> dict[str, float]:
        """Do a step; seconds of each of `PARTS`."""
        self._marks = [("", self._now())]
        short, long = (augment_clips(view, self.parameters, PretrainAugmentSpec()) for view in self.videos)
        self._mark("augment")
        with autocast(self.setup.precision, self.device):
            loss: Tensor = self.framework(short, long)
        self._mark("heads and loss")
        self.trainee.backward(loss)
        self._mark("backward")
        self.trainee.apply_gradients()
        self._mark("optimizer")
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        parts = dict.fromkeys(PARTS, 0.0)
        for (_, before), (part, after) in zip(self._marks, self._marks[1:], strict=False):
            parts[part] += _between(before, after)
        return parts

    def _watch_parts(self) -> None:
        """Have the framework's modules mark the time as data passes them."""

        def before(part: str) -> Callable[..., None]:
            return lambda module, inputs: self._mark(part)

        def after(part: str) -> Callable[..., None]:
            return lambda module, inputs, output: self._mark(part)

        framework = self.framework
        framework.backbone.register_forward_pre_hook(before("heads and loss"))
        framework.backbone.register_forward_hook(after("trunk forward"))
        framework.predictor.register_forward_hook(after("heads and loss"))
        momentum_trunk = getattr(framework, "momentum_backbone", None)
        if momentum_trunk is not None:
            momentum_trunk.register_forward_pre_hook(before("momentum update"))
            momentum_trunk.register_forward_hook(after("momentum trunk"))

    def _mark(self, part: str) -> None:
        self._marks.append((part, self._now()))

    def _now(self) -> _Moment:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            event.record()
            return event
        return time.process_time() if self.setup.threads == 1 else time.perf_counter()


def _augment_parameters(batch: int) -> Tensor:
    """Of one view, (B, P): jitter on all clips, in orders that vary, blur on every second; about the paper's load."""
    rows = torch.arange(batch, dtype=torch.float32)
    columns = {
        "brightness": torch.full((batch,), 1.2),
        "contrast": torch.full((batch,), 0.9),
        "saturation": torch.full((batch,), 1.1),
        "hue": torch.full((batch,), 0.05),
        "grayscale": torch.zeros(batch),
        "blur_sigma": rows % 2,
        "jitter_order": rows * 7 % 24,
    }
    return torch.stack([columns[name] for name in AUGMENT_FIELDS], dim=1)


def _between(before: _Moment, after: _Moment) -> float:
    if isinstance(before, torch.cuda.Event) and isinstance(after, torch.cuda.Event):
        return float(before.elapsed_time(after)) / 1000
    assert isinstance(before, float)
    assert isinstance(after, float)
    return after - before


def bench_step(setup: StepSetup, *, peers: bool = False, seconds: float = 20.0, warmup: int = 1) -> StepRates:
    """Run steps of ours, and of its public peer if asked, in turn.

    At fp32 the peer runs at fp32. At a narrower precision it runs twice, at that and at fp32. One thread on a CPU is
    timed by its CPU time, which other work on the machine disturbs less; all else by wall time.

    Args:
        setup: which step.
        peers: whether a public implementation of the same model runs beside it.
        seconds: how long, at least 3 rounds.
        warmup: rounds before that, in which compilation happens too.

    Raises:
        UserError: the model, the precision or the compiler cannot be had here.
    """
    missing = missing_peer(setup.model) if peers else None
    setups = [setup]
    if peers and missing is None:
        plain = replace(setup, peer=True, resources=ResourcesSpec())
        precisions: tuple[Precision, ...] = (setup.precision,)
        if setup.precision != "fp32":
            precisions = (setup.precision, "fp32")
        setups += [replace(plain, precision=precision) for precision in precisions]
    sample_flops = pretraining_flops(setup.framework, setup.model, depth=setup.depth)
    figures = [StepFigures(setup=each) for each in setups]
    for each in figures:
        each.peak_mib, each.step_mib = peak_memory(_steps_for_memory, each.setup, device=setup.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(setup.threads)
    try:
        _alternate(figures, seconds=seconds, warmup=warmup)
    finally:
        torch.set_num_threads(threads)
    single = setup.device == "cpu" and setup.threads == 1
    clock = "CPU time" if single else "wall time"
    return StepRates(figures=figures, sample_flops=sample_flops, clock=clock, missing=missing)


def _alternate(figures: Sequence[StepFigures], *, seconds: float, warmup: int) -> None:
    steps = [BenchStep(each.setup) for each in figures]
    for _ in range(warmup):
        for step in steps:
            step()
    end, rounds = time.monotonic() + seconds, 0
    while rounds < 3 or time.monotonic() < end:
        for each, step in zip(figures, steps, strict=True):
            parts = step()
            each.seconds.append(sum(parts.values()))
            for part, spent in parts.items():
                each.parts[part] += spent
        rounds += 1


def _steps_for_memory(setup: StepSetup) -> Iterator[None]:
    """What the measured process does: two steps, for the optimizer's state exists from the second on."""
    torch.set_num_threads(setup.threads)
    import_module("kornia")
    if setup.peer:
        import_peer(setup.model)
    yield
    step = BenchStep(setup)
    step()
    step()
