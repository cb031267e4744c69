"""Protocols that test the features of a frozen backbone."""

from pydantic import Field

from lstcl_platform.specs.base import PositiveInt, Spec


class KnnSpec(Spec):
    """Vote of the nearest training videos, as DINO's k-NN protocol."""

    neighbours: PositiveInt = 20
    """Training videos that vote."""
    temperature: float = Field(default=0.07, gt=0)
    """A vote weighs exp(cosine similarity / temperature)."""


class LinearProbeSpec(Spec):
    """A linear classifier on standardised features; the learning rate is chosen on held-out training videos."""

    learning_rates: tuple[float, ...] = Field(
        default=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), min_length=1
    )
    """Rates to choose from, at batch 256; all are trained on one pass of features."""
    passes: PositiveInt = 100
    """Epochs over the training videos' features."""
    batch_size: PositiveInt = 256
    """Videos a step; fewer where there are fewer."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty."""
