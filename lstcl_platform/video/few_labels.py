"""Training on few labels: which videos of each class are used."""

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.video.draws import LABEL_STREAM, raw_bits
from lstcl_platform.video.manifest import Manifest


def labelled_subset(manifest: Manifest, *, labels_per_class: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Rows of the usable videos to train on with labels, ascending.

    Every video gets a number from `seed`; each class keeps its `labels_per_class` videos with the smallest.
    So a larger subset contains every smaller one of the same seed.

    Raises:
        UserError: A class has fewer usable videos than `labels_per_class`; names it.
    """
    rows = manifest.usable
    if labels_per_class is None:
        return rows
    numbers = raw_bits(len(manifest), seed=seed, stream=LABEL_STREAM)
    kept = []
    for label, name in enumerate(manifest.classes):
        members = rows[manifest.labels[rows] == label]
        if len(members) < labels_per_class:
            raise UserError(
                f"finetune.labels_per_class is {labels_per_class}, but class '{name}' in {manifest.root} has "
                f"only {numbered(len(members), 'usable video')}"
            )
        kept.append(members[np.argsort(numbers[members], kind="stable")[:labels_per_class]])
    return np.sort(np.concatenate(kept))
