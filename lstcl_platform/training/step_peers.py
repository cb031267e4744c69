"""Public implementations of the study's backbones, for the same step as ours: peers in speed and memory."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from lstcl_platform.models import Backbone
from lstcl_platform.models.build import BACKBONES, SwinSize
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec

PEERS = {"torchvision": "torchvision's SwinTransformer3d", "transformers": "transformers' TimesformerModel"}
"""Package -> what is measured of it."""
_MODULES = {
    "torchvision": "torchvision.models.video",
    "transformers": "transformers.models.timesformer.modeling_timesformer",
}


class PeerBackbone(Backbone):
    """A foreign clip encoder behind the interface of ours."""

    def __init__(self, encoder: nn.Module, *, feature_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.feature_dim = feature_dim

    def patch_projection(self) -> nn.Module:
        """The only convolution in these models."""
        return next(m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Not needed for a step of pretraining: one group."""
        return {"stem": r".*"}


class TorchvisionSwin(PeerBackbone):
    """torchvision's `SwinTransformer3d` without its classifier."""

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, feature_dim)."""
        features: Tensor = self.encoder(clip)
        return features


class TransformersTimeSformer(PeerBackbone):
    """transformers' `TimesformerModel`; the feature is the cls token, as in ours."""

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, feature_dim)."""
        features: Tensor = self.encoder(clip.transpose(1, 2)).last_hidden_state[:, 0]
        return features


def peer_of(model: ModelSpec) -> str:
    """Package that has the peer of a model."""
    return "transformers" if model.name.startswith("timesformer") else "torchvision"


def missing_peer(model: ModelSpec) -> str | None:
    """Why a model's peer cannot be measured here, or None."""
    package = peer_of(model)
    if model.attention != "divided":
        return f"{package} has no attention: {model.attention}"
    if find_spec(package) is None:
        return f"{package} is not installed (pip install lstcl-platform[bench])"
    return None


def import_peer(model: ModelSpec) -> None:
    """Load a model's peer and the libraries that it needs."""
    import_module(_MODULES[peer_of(model)])


def build_peer(model: ModelSpec, *, depth: tuple[int, ...] | None = None) -> Backbone:
    """The peer with a model's sizes and random weights; its defaults decide what is left open.

    Args:
        model: name, frames and image size.
        depth: as in `build_backbone`.

    Raises:
        UserError: the package is not installed.
    """
    if (missing := missing_peer(model)) is not None:
        raise UserError(missing)
    size = BACKBONES[model.name]
    if isinstance(size, SwinSize):
        from torchvision.models.video.swin_transformer import SwinTransformer3d

        swin = SwinTransformer3d(
            patch_size=list(size.patch),
            embed_dim=size.dim,
            depths=list(depth or size.depths),
            num_heads=list(size.heads),
            window_size=list(size.window),
            stochastic_depth_prob=0.0,
        )
        swin.head = nn.Identity()
        return TorchvisionSwin(swin, feature_dim=swin.num_features)
    from transformers import TimesformerConfig, TimesformerModel

    config = TimesformerConfig(
        image_size=model.image_size,
        patch_size=size.patch,
        num_frames=model.frames,
        hidden_size=size.dim,
        intermediate_size=4 * size.dim,
        num_hidden_layers=size.depth if depth is None else depth[0],
        num_attention_heads=size.heads,
    )
    return TransformersTimeSformer(TimesformerModel(config), feature_dim=size.dim)
