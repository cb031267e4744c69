"""Watching a pretraining: how far its representation spreads, and an alarm when it collapses."""

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lstcl_platform.frameworks.pairs import spread, unit_rows
from lstcl_platform.frameworks.workers import gather
from lstcl_platform.training.context import StageContext

LEAST_STD = 0.1
"""A standard deviation below this is a collapse: two videos' vectors have a cosine above 0.99 in the mean."""
LEAST_RANK = 2.0
"""An effective rank below this is a collapse: all videos lie on one line."""
LEAST_VIDEOS = 8
"""In a smaller batch the rank says nothing: n videos have a rank of at most n - 1."""

_log = logging.getLogger(__name__)


def effective_rank(rows: Tensor) -> float:
    """Effective rank (Roy, Vetterli 2007) of rows (B, D) around their mean, in [1, min(B - 1, D)].

    It is exp of the entropy of the singular values' shares: k for k directions of equal weight. Rows that are not
    finite have none (NaN); the loop ends such a run by its loss.
    """
    if not rows.isfinite().all():
        return math.nan
    centred = (rows - rows.mean(0)).double()
    small = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    values = torch.linalg.eigvalsh(small).clamp_min(0).sqrt()
    # Rounding turns eigenvalues of 0 into singular values of 1e-8: no direction that anything lies in.
    values = values[values > 1e-6 * values.max()]
    if not len(values):
        return 1.0
    shares = values / values.sum()
    return math.exp(-(shares * shares.log()).sum().item())


class CollapseWatch:
    """Figures on the spread of the joined batch's representations, and the alarm.

    Both kinds of rows that a framework lets see are looked at: the short clips' features, which finetuning goes on
    with, and their embeddings behind the projector, which collapse first (BatchNorm inside the projector can keep
    them apart while the features collapse, and the other way round).

    Args:
        context: Of the stage; its reporter is warned once, when the collapse is first seen.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._alarmed = False

    def figures(self, step: int, observed: Mapping[str, Tensor]) -> dict[str, float]:
        """Figures after `step` steps; all ranks call this at the same steps.

        Args:
            step: Steps done.
            observed: `feature` and `embedding`, this worker's rows (B, D) of each.

        Returns:
            `feature_std`, the standard deviation of the unit rows over the batch, averaged over dimensions, times
            sqrt(D): 0 when all are equal, 1 when spread evenly; `effective_rank` of the same; `embedding_std` and
            `embedding_rank`; `collapsed`, 1 when one of them is below `LEAST_STD` or `LEAST_RANK`, else 0.
        """
        found: dict[str, float] = {}
        for name, rank_name in (("feature", "effective_rank"), ("embedding", "embedding_rank")):
            rows = gather(unit_rows(observed[name])).flatten(0, 1)
            found[f"{name}_std"] = spread(rows).item()
            found[rank_name] = effective_rank(rows)
        signs = _signs(found, videos=len(rows))
        if signs and not self._alarmed:
            self._warn(step, signs)
        self._alarmed = bool(signs)
        return {**found, "collapsed": float(bool(signs))}

    def _warn(self, step: int, signs: list[str]) -> None:
        text = (
            f"the representation has collapsed at step {step}: {', '.join(signs)}; videos are hardly told apart any "
            "more, and what follows will not mend it (a lower lr_base, a longer warm-up or a higher momentum may help)"
        )
        _log.warning(text)
        self._context.reporter.warning(text)


def _signs(found: Mapping[str, float], *, videos: int) -> list[str]:
    least = {"feature_std": LEAST_STD, "embedding_std": LEAST_STD}
    if videos >= LEAST_VIDEOS:
        least |= {"effective_rank": LEAST_RANK, "embedding_rank": LEAST_RANK}
    return [
        f"{name} {found[name]:.3g} (below {bound:g})" for name, bound in least.items() if found[name] < bound
    ]
