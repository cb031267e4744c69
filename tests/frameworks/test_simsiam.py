"""SimSiam: one encoder, no gradient through the keys, heads of its own or BYOL's."""

import torch
from torch import nn

from tests.frameworks.small import small, views


def test_there_is_no_momentum_encoder():
    framework = small("simsiam")
    assert framework.momentum is None
    assert {name.split(".")[0] for name in framework.state_dict()} == {"backbone", "projector", "predictor"}


def test_no_gradient_flows_through_the_keys():
    framework = small("simsiam", loss_scale=0.25)
    framework.predictor = nn.Identity()
    framework(*views()).backward()
    # Without a predictor both directions pull on the same pairs: stopping half of them halves the gradient.
    stopped = [p.grad.clone() for p in framework.parameters() if p.grad is not None]
    framework.zero_grad()
    z1, z2 = (framework.projector(framework.backbone(view)) for view in views())
    (1 - nn.functional.cosine_similarity(z1, z2, dim=1).mean()).backward()
    whole = [p.grad for p in framework.parameters() if p.grad is not None]
    largest = max(grad.norm() for grad in whole)
    for half, full in zip(stopped, whole, strict=True):
        torch.testing.assert_close(2 * half, full, rtol=1e-8, atol=1e-11 * float(largest))


def test_the_projector_is_as_wide_as_the_backbone_unless_told_otherwise():
    framework = small("simsiam", projector_hidden=None)
    width = framework.backbone.feature_dim
    assert [layer.weight.shape for layer in framework.projector if isinstance(layer, nn.Linear)] == [
        (width, width),
        (width, width),
        (16, width),
    ]
