"""A backbone with a linear classifier, for supervised finetuning and testing."""

from timm.layers import trunc_normal_
from torch import Tensor, nn

from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.stochastic import Dropout


class Classifier(nn.Module):
    """Dropout and one linear layer on a backbone's feature.

    Args:
        backbone: The clip encoder.
        num_classes: Classes K, at least 1.
        dropout: Probability of zeroing a feature while training, in [0, 1).

    Raises:
        ValueError: `num_classes` below 1.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        self.backbone = backbone
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(backbone.feature_dim, num_classes)
        trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) float, normalised -> logits (B, K)."""
        logits: Tensor = self.head(self.dropout(self.backbone(clip)))
        return logits
