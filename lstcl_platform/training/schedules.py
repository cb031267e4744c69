"""Learning rate and momentum as functions of training time, as in MoCo v3 (`main_moco.py`).

Time is in any unit (steps or epochs, whole or not) as long as all arguments of a call share it.
"""

import math


def warmup_cosine(step: float, *, total: float, warmup: float, peak: float) -> float:
    """Linear warm-up from 0, then half a cosine to 0.

    Args:
        step: Time done so far, in [0, total].
        total: Length of training, above 0.
        warmup: Length of the warm-up, in [0, total).
        peak: Value at the end of the warm-up.

    Returns:
        Value for the step that starts now.
    """
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def cosine_momentum(step: float, *, total: float, start: float) -> float:
    """Momentum of the key encoder: from `start` to 1 along half a cosine, without warm-up.

    Args:
        step: Time done so far, in [0, total].
        total: Length of training, above 0.
        start: Momentum at step 0, in [0, 1].

    Returns:
        Momentum for the step that starts now.
    """
    return 1.0 - 0.5 * (1.0 + math.cos(math.pi * step / total)) * (1.0 - start)
