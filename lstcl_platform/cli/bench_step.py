"""`lstcl-platform bench step`: the speed of a pretraining step, with torch alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstcl_platform.cli.plan import OverrideFileOptions, OverrideOptions
from lstcl_platform.specs import expand, load_requested
from lstcl_platform.specs.base import Precision
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.frameworks import BYOLSpec, FrameworkSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.specs.model import BackboneName, ModelSpec

if TYPE_CHECKING:
    from lstcl_platform.training.step_bench import StepFigures, StepRates, StepSetup
    from lstcl_platform.training.step_numerics import Numerics

_FRAMEWORKS: dict[str, FrameworkSpec] = {
    "moco_v3": MoCoV3Spec(),
    "byol": BYOLSpec(),
    "simsiam": SimSiamSpec(),
}


SpecArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[SPEC]", help="Experiment file: its first pretraining; options go before it."),
]
KeepRateOption = Annotated[
    Path | None,
    typer.Option("--rates", metavar="FILE", help="Also write the rate into this file, for `plan --rates`."),
]


def step(
    spec: SpecArgument = None,
    overrides: OverrideOptions = None,
    override_files: OverrideFileOptions = None,
    model: Annotated[BackboneName | None, typer.Option(help="Backbone.")] = None,
    framework: Annotated[
        Literal["moco_v3", "byol", "simsiam"] | None, typer.Option(help="Framework, with the paper's heads.")
    ] = None,
    batch: Annotated[int, typer.Option(min=2, help="Videos a step.")] = 4,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames a clip.")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels.")] = None,
    depth: Annotated[
        str | None, typer.Option(help="Blocks (of each stage: 1,1,2,1) instead of the backbone's own.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="Where; by default a GPU if there is one.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads on a CPU.")] = 1,
    precision: Annotated[Precision | None, typer.Option(help="Arithmetic.")] = None,
    compile: Annotated[bool | None, typer.Option(help="Compile the blocks.")] = None,
    checkpoint_activations: Annotated[
        bool | None, typer.Option(help="Recompute the activations of blocks.")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Beside the public implementation.")] = False,
    numerics: Annotated[
        bool, typer.Option("--numerics", help="Error of every option against float64 instead of speed.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0, help="How long, after a first round.")] = 20,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0.001, help="What the device can do in 10^12 operations a second.")
    ] = None,
    keep: KeepRateOption = None,
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Form of the output.")
    ] = "table",
) -> None:
    """Samples a second of a pretraining step, its arithmetic, peak memory, and the share of each part.

    Runs without Ray, on made-up videos that are already decoded. With --peers torchvision's SwinTransformer3d or
    transformers' TimesformerModel takes the backbone's place in turn, everything else alike. Memory is measured in a
    process of its own.
    """
    setup = replace(
        _setup(spec, overrides or (), override_files or (), batch),
        device=device or _default_device(),
        threads=threads,
        depth=_depth(depth),
    )
    setup = _changed_setup(
        setup,
        framework=framework,
        precision=precision,
        model={"name": model, "frames": frames, "image_size": image_size},
        resources={
            "compile": compile,
            "checkpoint_activations": checkpoint_activations,
            "peak_tflops": peak_tflops,
        },
    )
    _measure(setup, peers=peers, numerics=numerics, seconds=seconds, rates_file=keep, output=output)


def _measure(
    setup: "StepSetup", *, peers: bool, numerics: bool, seconds: float, rates_file: Path | None, output: str
) -> None:
    if numerics:
        from lstcl_platform.training.step_numerics import step_numerics

        _show_numerics(step_numerics(setup), output)
        return
    from lstcl_platform.training.step_bench import bench_step

    if rates_file is not None and setup.depth is not None:
        raise UserError("--rates: with --depth it is another model, whose rate no plan can use")
    rates = bench_step(setup, peers=peers, seconds=seconds)
    if rates_file is not None:
        _keep_rate(rates, rates_file)
    if output == "json":
        typer.echo(json.dumps(_values(rates), indent=2))
    else:
        _print(rates)


def _keep_rate(rates: "StepRates", file: Path) -> None:
    import torch

    from lstcl_platform.planning.rates import StageRateSpec, add_rate

    setup = rates.figures[0].setup
    model = setup.model
    add_rate(
        file,
        StageRateSpec(
            stage="pretrain",
            model=model.name,
            attention=model.attention,
            frames=model.frames,
            image_size=model.image_size,
            framework=setup.framework.kind,
            device="cpu" if setup.device == "cpu" else torch.cuda.get_device_name(),
            samples_per_second=rates.figures[0].samples_per_second,
        ),
    )


def _setup(spec: Path | None, overrides: Any, override_files: Any, batch: int) -> "StepSetup":
    from lstcl_platform.training.step_bench import StepSetup

    if spec is None:
        return StepSetup(model=ModelSpec(), framework=MoCoV3Spec(), batch=batch)
    experiment = load_requested(spec, overrides, override_files=override_files)
    for trial in expand(experiment.resolved).trials:
        setup = StepSetup.of(trial.spec)
        if setup is not None:
            return replace(setup, batch=batch)
    raise UserError(f"{spec}: no trial has a pretraining")


def _changed_setup(
    setup: "StepSetup",
    *,
    framework: str | None,
    precision: Precision | None,
    model: dict[str, Any],
    resources: dict[str, Any],
) -> "StepSetup":
    """`setup` with what was given on the command line."""
    return replace(
        setup,
        framework=setup.framework if framework is None else _FRAMEWORKS[framework],
        precision=setup.precision if precision is None else precision,
        model=_changed(setup.model, model),
        resources=_changed(setup.resources, resources),
    )


def _changed(spec: Any, fields: dict[str, Any]) -> Any:
    """A spec with the fields that were given, checked anew."""
    given = {name: value for name, value in fields.items() if value is not None}
    return type(spec).model_validate({**spec.model_dump(), **given})


def _depth(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--depth {text}: expected whole numbers separated by commas, as in 1,1,2,1"
        ) from error


def _default_device() -> Literal["cpu", "cuda"]:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _mfu(rates: "StepRates", figures: "StepFigures") -> float | None:
    peak = figures.setup.resources.peak_tflops or rates.figures[0].setup.resources.peak_tflops
    return None if peak is None else rates.tflops(figures) / peak


def _values(rates: "StepRates") -> dict[str, Any]:
    ours = rates.figures[0]
    rows = [
        {
            "name": each.setup.title,
            "samples_per_second": each.samples_per_second,
            "tflops": rates.tflops(each),
            "mfu": _mfu(rates, each),
            "peak_mib": each.peak_mib,
            "step_mib": each.step_mib,
            "steps": len(each.seconds),
            "parts": {part: each.share(part) for part in each.parts},
            "ours_is_faster_by": None if each is ours else rates.faster_than(each),
            "ours_takes_memory": None if each is ours else ours.step_mib / each.step_mib,
        }
        for each in rates.figures
    ]
    return {
        "clock": rates.clock,
        "sample_tflop": rates.sample_flops / 1e12,
        "missing": rates.missing,
        "rows": rows,
    }


def _print(rates: "StepRates") -> None:
    from rich.table import Table

    from lstcl_platform.cli.results import make_console

    setup = rates.figures[0].setup
    shape = f"{setup.batch} x 2 x {setup.model.frames} x {setup.model.image_size}²"
    title = f"{setup.framework.kind} step of {setup.model.name}, {shape}, {setup.device}, {rates.clock}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for each in rates.figures:
        table.add_column(each.setup.title, justify="right")
    lines: list[tuple[str, Any]] = [
        ("samples/s", lambda each: f"{each.samples_per_second:.3f}"),
        ("TFLOP/s", lambda each: f"{rates.tflops(each):.3f}"),
        ("MFU", lambda each: "-" if (mfu := _mfu(rates, each)) is None else f"{mfu:.1%}"),
        ("peak memory, MiB", lambda each: f"{each.peak_mib:.0f}"),
        ("without libraries, MiB", lambda each: f"{each.step_mib:.0f}"),
        *((part, lambda each, part=part: f"{each.share(part):.1%}") for part in rates.figures[0].parts),
    ]
    for name, cell in lines:
        table.add_row(name, *(cell(each) for each in rates.figures))
    if len(rates.figures) > 1:
        ours, others = rates.figures[0], rates.figures[1:]
        table.add_section()
        table.add_row("ours is faster by", "", *(f"{rates.faster_than(each):.2f}x" for each in others))
        table.add_row("ours takes memory", "", *(f"{ours.step_mib / each.step_mib:.2f}x" for each in others))
    make_console().print(table)
    if rates.missing:
        typer.echo(f"No peer was measured: {rates.missing}")


def _show_numerics(found: "list[Numerics]", output: str) -> None:
    from dataclasses import asdict

    from rich.table import Table

    from lstcl_platform.cli.results import make_console

    if output == "json":
        typer.echo(json.dumps([asdict(row) for row in found], indent=2))
        return
    table = Table(title="Relative error of a step against float64", title_justify="left")
    for column in ("option", "loss", "gradient", "its largest part"):
        table.add_column(column, justify="left" if column == "option" else "right")
    for row in found:
        table.add_row(row.option, f"{row.loss:.1e}", f"{row.gradient:.1e}", f"{row.worst:.1e}")
    make_console().print(table)
