"""`export`: trained weights in the names of public code."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lstcl_platform.cli.results import Storage, TrackingUri, open_store


class Names(StrEnum):
    """Whose names the tensors get."""

    NATIVE = "native"
    TIMM = "timm"
    OFFICIAL = "official"


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="EXPERIMENT/TRIAL (its finetuned model), a stage's key or its first digits, or its MLflow run.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write (.safetensors).", show_default=False)
    ],
    names: Annotated[
        Names,
        typer.Option(
            "--format", help="Ours; timm's; or those of the TimeSformer, Swin or Video-Swin repository."
        ),
    ] = Names.NATIVE,
    storage: Storage = "lstcl_runs",
    tracking_uri: TrackingUri = None,
) -> None:
    """Write trained weights as safetensors that timm or the official code takes back."""
    import tempfile

    from lstcl_platform.models.export import export_weights
    from lstcl_platform.specs.errors import UserError
    from lstcl_platform.training import storage as files

    if output.suffix != ".safetensors":
        raise UserError(f"-o {output}: the file is safetensors, so its name must end in .safetensors")
    if not output.parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}")
    found = open_store(storage=storage, tracking_uri=tracking_uri).trained_weights(run)
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "weights.safetensors"
        try:
            digest = files.download(found.weights, stored)
        except OSError as error:
            raise UserError(f"{run}: cannot read its weights {found.weights}: {error}") from error
        if digest != found.sha256:
            raise UserError(f"{run}: {found.weights} is damaged: its SHA-256 is not the recorded one")
        count = export_weights(stored, output, model=found.model, form=names.value)
    typer.echo(
        f"{output}: {count} tensors of {found.kind} {found.key[:10]} ({found.model.name}), {names.value} names"
    )
