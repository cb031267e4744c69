"""`clean`: free what stages keep and nothing needs."""

from collections import Counter
from typing import Annotated

import typer

from lstcl_platform.cli.results import Storage, TrackingUri, make_console, open_store
from lstcl_platform.cli.terminal import DEFAULT_STORAGE
from lstcl_platform.specs.wording import numbered

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def clean(
    experiment: Annotated[
        str | None, typer.Argument(help="Name of a study; default: all.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, nothing is.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show, and with --yes delete, checkpoints that neither going on nor a later stage needs.

    Finished stages keep weights, predictions and logs; unfinished ones the newest intact checkpoint. What runs now is
    not touched.
    """
    from rich.table import Table

    from lstcl_platform import storage as places
    from lstcl_platform.tracking.cleaning import clean as run_clean

    tracker = open_store(storage=storage, tracking_uri=tracking_uri)
    found = run_clean(tracker, places.join(storage, "train"), experiment=experiment, delete=yes)
    sizes: Counter[tuple[str, str]] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    for item in found.superfluous:
        sizes[item.key, item.reason] += item.size
        counts[item.key, item.reason] += 1
    if sizes:
        table = Table("stage", "what", "how many", "size")
        for (key, reason), size in sizes.items():
            table.add_row(key[:10], reason, str(counts[key, reason]), in_units(size))
        make_console().print(table)
    for keys, why in (
        (found.busy, "left alone, since running now"),
        (found.unknown, "left alone, since not in this tracking store"),
        (found.unbegun, "with nothing to free, since the launch ended before an attempt began"),
    ):
        if keys:
            typer.echo(f"{numbered(len(keys), 'stage')} {why}: {', '.join(key[:10] for key in keys)}")
    total = in_units(sum(sizes.values()))
    if yes:
        typer.echo(f"{total} freed.")
    elif not sizes:
        typer.echo("Nothing can be freed.")
    else:
        typer.echo(f"{total} can be freed; nothing was deleted. Delete with --yes.")


def in_units(size: float) -> str:
    """`532 bytes`, `1.3 GB`: powers of 1000, as disks are sold."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"
