"""RUN of `export`, `predict` and `embed`: what a person calls trained weights, brought to this machine."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.results import open_store
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.models.trained import Trained
    from lstcl_platform.specs.trained import TrainedSpec
    from lstcl_platform.tracking.tracker import TrainedWeights

WEIGHTS_SUFFIX = ".safetensors"

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        show_default=False,
        help="EXPERIMENT/TRIAL (its finetuned model), EXPERIMENT/best, a stage's key or its first digits, or its "
        "MLflow run.",
    ),
]
RunOrFileArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|FILE",
        show_default=False,
        help="EXPERIMENT/TRIAL (its finetuned model), EXPERIMENT/best, a stage's key or its first digits, its MLflow "
        "run, or a .safetensors file that `export` wrote.",
    ),
]
ClipsOption = Annotated[
    int | None, typer.Option(min=1, help="Clips of each video. Default: as the model was tested.")
]
CropsOption = Annotated[
    Literal["1", "3"] | None, typer.Option(help="Crops of each clip. Default: as the model was tested.")
]
StrideOption = Annotated[
    int | None,
    typer.Option(min=1, help="Frames between two of a clip. Default: as the model was tested."),
]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Weights on this machine.

    Attributes:
        spec: what they are.
        file: local safetensors file.
        run: where tracking has them, or None for a file that a person named.
    """

    spec: "TrainedSpec"
    file: Path
    run: "TrainedWeights | None"


@contextmanager
def fetched(run: str, *, storage: str, tracking_uri: str | None) -> Iterator[Fetched]:
    """The weights that `run` names, checked against their recorded digest; gone after the `with` block.

    Raises:
        UserError: nothing is called so, or the weights cannot be read or are damaged.
    """
    if run.endswith(WEIGHTS_SUFFIX):
        from lstcl_platform.models.trained import load_trained

        yield Fetched(spec=load_trained(run).spec, file=Path(run), run=None)
        return
    from lstcl_platform import storage as files
    from lstcl_platform.specs.errors import UserError

    found = open_store(storage=storage, tracking_uri=tracking_uri).trained_weights(run)
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / f"weights{WEIGHTS_SUFFIX}"
        try:
            digest = files.download(found.weights, stored)
        except OSError as error:
            raise UserError(f"{run}: cannot read its weights {found.weights}: {error}") from error
        if digest != found.sha256:
            raise UserError(f"{run}: {found.weights} is damaged: its SHA-256 is not the recorded one")
        yield Fetched(spec=found.spec, file=stored, run=found)


def with_views(
    spec: "TrainedSpec", *, clips: int | None, crops: Literal["1", "3"] | None, stride: int | None
) -> "TrainedSpec":
    """`spec` with the views that a person asked for instead of those of its test."""
    changed: dict[str, object] = {}
    if clips is not None:
        changed["clips"] = clips
    if crops is not None:
        changed["crops"] = int(crops)
    evaluate = spec.evaluate.model_copy(update=changed)
    return spec.model_copy(update={"evaluate": evaluate, "stride": spec.stride if stride is None else stride})


def loaded(weights: Fetched, spec: "TrainedSpec") -> "Trained":
    """The model of `weights`, to be used as `spec` says."""
    from lstcl_platform.models.trained import load_trained

    return load_trained(weights.file, spec=spec)


def described(spec: "TrainedSpec") -> str:
    """Model and views in a line: what a number depends on."""
    evaluate = spec.evaluate
    crops = "centre crop" if evaluate.crops == 1 else f"{evaluate.crops} crops"
    clips = numbered(evaluate.clips, "clip")
    return (
        f"{spec.kind} {spec.key[:10]} ({spec.model.name}, {spec.model.frames} x {spec.model.image_size} x "
        f"{spec.model.image_size}); {clips} a video, {crops}, stride {spec.stride}"
    )
