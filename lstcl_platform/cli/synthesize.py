"""`lstcl-platform data synthesize`: render the videos that an experiment asks for, without running it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstcl_platform.cli.plan import OverrideFileOptions, OverrideOptions

if TYPE_CHECKING:
    from lstcl_platform.specs.data import DataSpec


def synthesize(
    spec: Annotated[Path, typer.Argument(help="Experiment file with a `data.synthesize` block.")],
    overrides: OverrideOptions = None,
    override_files: OverrideFileOptions = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Rendering processes. Default: one a core.", show_default=False)
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Also score methods that see no motion on the set.")] = True,
) -> None:
    """Render the synthetic videos of SPEC into its `data.train` and `data.val`; `launch` does so by itself.

    An interrupted rendering goes on where it stopped; a finished one is left alone. Then nearest neighbours on
    single frames, on mean frames and on hue histograms are scored, for comparison with what a model learns.
    """
    from lstcl_platform.cli.data import progress_bar
    from lstcl_platform.specs import load_experiment
    from lstcl_platform.specs.errors import UserError
    from lstcl_platform.video.synthetic import synthesize as render

    data = load_experiment(spec, overrides or (), override_files=override_files or ()).data
    if data.synthesize is None:
        raise UserError(f"{spec}: data.synthesize is not set, so there is nothing to render")
    with progress_bar("Rendering") as progress:
        rendered = render(
            data.synthesize,
            train=Path(data.train),
            val=Path(data.val),
            processes=processes,
            progress=progress,
        )
    typer.echo(
        f"videos    {data.synthesize.train_videos} + {data.synthesize.val_videos} ({rendered} rendered now)"
    )
    typer.echo(f"train     {data.train}")
    typer.echo(f"val       {data.val}")
    if baselines:
        _show_baselines(data)


def _show_baselines(data: "DataSpec") -> None:
    from lstcl_platform.cli.data import progress_bar
    from lstcl_platform.video.baselines import baselines
    from lstcl_platform.video.indexing import index_videos

    with progress_bar("Indexing") as progress:
        train = index_videos(Path(data.train), progress=progress)
        val = index_videos(Path(data.val), progress=progress)
    with progress_bar("Scoring without motion") as progress:
        scores = baselines(train, val, progress=progress)
    typer.echo("Top-1 without looking at motion, all labels given:")
    for name, share in scores.items():
        typer.echo(f"  {name.replace('_', ' '):<14} {share:.3f}")
