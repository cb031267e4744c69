"""`export`: trained weights in the names of public code, as a program, or in MLflow's registry."""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstcl_platform.cli.results import Storage, TrackingUri, open_store
from lstcl_platform.cli.terminal import DEFAULT_STORAGE, hint
from lstcl_platform.cli.trained import WEIGHTS_SUFFIX, Fetched, RunArgument, described, fetched, loaded
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lstcl_platform.models.export import ExportFormat

PROGRAM_SUFFIX = ".pt2"


class Form(StrEnum):
    """What is written: whose names the tensors get, or a program."""

    NATIVE = "native"
    TIMM = "timm"
    OFFICIAL = "official"
    PROGRAM = "torch-export"


_NAMES: "Mapping[Form, ExportFormat]" = {
    Form.NATIVE: "native",
    Form.TIMM: "timm",
    Form.OFFICIAL: "official",
}


def export(
    run: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write: .safetensors, for torch-export .pt2. Not needed with --register.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            help="Ours, for `load_trained`; timm's names; those of the TimeSformer, Swin or Video-Swin repository; or "
            "a program that runs with torch alone.",
        ),
    ] = Form.NATIVE,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make the model a version of NAME in MLflow's model registry, which predicts from paths of videos.",
            show_default=False,
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write trained weights: for Python, for timm or the official code, or as a torch.export program.

    EXPERIMENT/best with --register puts the best model of a study into the registry; a model that is there already is
    not registered twice.
    """
    from lstcl_platform.specs.errors import UserError

    if run.endswith(WEIGHTS_SUFFIX):
        raise UserError(f"{run}: is exported already; name the run that it came from")
    if output is None and register is None:
        raise UserError("name a file to write with -o, or a registered model with --register")
    if output is not None:
        _check_output(output, form)
    with fetched(run, storage=storage, tracking_uri=tracking_uri) as weights:
        if output is not None:
            typer.echo(f"{output}: {_write(weights, output, form)}")
            if form is Form.NATIVE:
                typer.echo(
                    f'Next: load_trained("{output}") in Python, or lstcl-platform predict {output} VIDEO...'
                )
        if register is not None:
            _register(weights, register, storage=storage, tracking_uri=tracking_uri)


def _check_output(output: Path, form: Form) -> None:
    from lstcl_platform.specs.errors import UserError

    wanted, what = (PROGRAM_SUFFIX, "a program") if form is Form.PROGRAM else (WEIGHTS_SUFFIX, "safetensors")
    if output.suffix != wanted:
        raise UserError(f"-o {output}: the file is {what}, so its name must end in {wanted}")
    if not output.parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}")


def _write(weights: Fetched, output: Path, form: Form) -> str:
    """Write the file; returns what is in it."""
    spec = weights.spec
    if form is Form.PROGRAM:
        from lstcl_platform.models.torch_export import export_program

        worst = export_program(loaded(weights, spec), output)
        return f"program of {described(spec)}; its output differs from the model's by at most {worst:.1e}"
    from lstcl_platform.models.export import export_weights
    from lstcl_platform.models.trained import trained_note

    names = _NAMES[form]
    note = trained_note(spec) if names == "native" else None
    count = export_weights(weights.file, output, model=spec.model, form=names, metadata=note)
    return f"{numbered(count, 'tensor')} of {spec.kind} {spec.key[:10]} ({spec.model.name}), {names} names"


def _register(weights: Fetched, name: str, *, storage: str, tracking_uri: str | None) -> None:
    from lstcl_platform.models.export import export_weights
    from lstcl_platform.models.trained import trained_note
    from lstcl_platform.specs.errors import UserError

    assert weights.run is not None  # `export` takes runs only: a file has nothing left to be exported
    if weights.spec.kind != "finetune":
        raise UserError(f"--register {name}: a registered model predicts classes, but this is a pretraining")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}{WEIGHTS_SUFFIX}"
        note = trained_note(weights.spec)
        export_weights(weights.file, file, model=weights.spec.model, form="native", metadata=note)
        tracker = open_store(storage=storage, tracking_uri=tracking_uri)
        version, is_new = tracker.register_model(name, weights.run, file)
    done = "registered as" if is_new else "was registered before as"
    typer.echo(f"{weights.spec.kind} {weights.spec.key[:10]} {done} {name}, version {version}")
    hint(f'mlflow.pyfunc.load_model("models:/{name}/{version}").predict(["video.mp4"]) in Python')
