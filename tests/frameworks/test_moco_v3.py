"""MoCo v3 in one process: the public code's loss, and its order of a step written out plainly."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lstcl_platform.frameworks import build_framework
from lstcl_platform.frameworks.moco_v3 import contrastive_loss, unit_rows
from lstcl_platform.models import build_backbone
from lstcl_platform.models.heads import mlp_head
from lstcl_platform.specs.frameworks import MoCoV3Spec
from tests.fixtures import arrays

LOSSES = {name: torch.from_numpy(value).double() for name, value in arrays("moco_v3_loss").items()}
BATCH = 10


def small(**fields):
    torch.manual_seed(0)
    sizes = {"projector_hidden": 24, "predictor_hidden": 20, "output_dim": 16}
    backbone = build_backbone("st_swin_micro", frames=2, image_size=16)
    return build_framework(MoCoV3Spec(**(sizes | fields)), backbone).double()


def views(seed=1, batch=BATCH):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, batch, 3, 2, 16, 16, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize(("name", "rows"), [("one_process_12", 12), ("one_process_first6", 6)])
def test_loss_and_gradient_equal_the_reference(name, rows, row):
    temperature = LOSSES["temperatures"][row].item()
    queries = LOSSES["queries"][:rows].clone().requires_grad_()
    keys = unit_rows(LOSSES["keys"][:rows])
    loss = contrastive_loss(unit_rows(queries), keys, temperature=temperature) * 2 * temperature
    loss.backward()
    assert loss.item() == pytest.approx(LOSSES[f"{name}/loss"][row].item(), rel=1e-9)
    torch.testing.assert_close(queries.grad, LOSSES[f"{name}/grad_q"][row], rtol=1e-9, atol=1e-12)


def test_sum_over_videos_is_equation_4():
    for temperature, expected in zip(LOSSES["temperatures"], LOSSES["eq4_sum_one_process_12"], strict=True):
        queries, keys = unit_rows(LOSSES["queries"]), unit_rows(LOSSES["keys"])
        loss = contrastive_loss(queries, keys, temperature=temperature.item())
        assert 12 * loss.item() == pytest.approx(expected.item(), rel=1e-9)


class PlainMoCoV3:
    """The public code's step, one view at a time, with torch's own BatchNorm and a loop for the average."""

    def __init__(self, framework):
        state = copy.deepcopy(framework)
        dim = state.backbone.feature_dim
        self.backbone, self.momentum_backbone = state.backbone, state.momentum_backbone
        self.projector, self.predictor = mlp_head((dim, 24, 24, 16)).double(), mlp_head((16, 20, 16)).double()
        self.momentum_projector = mlp_head((dim, 24, 24, 16)).double()
        for name in ("projector", "predictor", "momentum_projector"):
            getattr(self, name).load_state_dict(getattr(state, name).state_dict())

    def trained(self):
        named = nn.ModuleDict({n: getattr(self, n) for n in ("backbone", "projector", "predictor")})
        return {n: p for n, p in named.named_parameters() if p.requires_grad}

    def step(self, x1, x2, momentum):
        q1 = self.predictor(self.projector(self.backbone(x1)))
        q2 = self.predictor(self.projector(self.backbone(x2)))
        with torch.no_grad():
            for average, source in (
                (self.momentum_backbone, self.backbone),
                (self.momentum_projector, self.projector),
            ):
                for a, p in zip(average.parameters(), source.parameters(), strict=True):
                    a.copy_(a * momentum + p * (1 - momentum))
            k1 = self.momentum_projector(self.momentum_backbone(x1))
            k2 = self.momentum_projector(self.momentum_backbone(x2))
        loss = 0
        for q, k in ((q1, k2), (q2, k1)):
            similarity = torch.einsum("nc,mc->nm", F.normalize(q, dim=1), F.normalize(k, dim=1)) / 0.2
            loss = loss + F.cross_entropy(similarity, torch.arange(len(q))) * 0.4
        return loss


@pytest.mark.parametrize("freeze", [True, False])
def test_three_steps_equal_the_plain_order(freeze):
    framework = small(freeze_patch_embed=freeze)
    plain = PlainMoCoV3(framework)
    ours = {n: p for n, p in framework.named_parameters() if p.requires_grad}
    theirs = plain.trained()
    assert ours.keys() == theirs.keys()
    optimizers = [torch.optim.AdamW(group.values(), 1e-3, weight_decay=0.1) for group in (ours, theirs)]
    for step, momentum in enumerate([0.9, 0.95, 0.99]):
        short, long = views(step)
        framework.momentum = momentum
        losses = [framework(short, long), plain.step(short, long, momentum)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-10)
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
        # Gradients that are zero but for rounding exist: a BatchNorm cancels the bias of the last LayerNorm.
        largest = max(p.grad.norm().item() for p in theirs.values())
        for name in ours:
            torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-8, atol=1e-11 * largest)
        for optimizer in optimizers:
            optimizer.step()
    # The average of BatchNorm buffers would not show in the losses, so the final state is compared too.
    for name in ("momentum_backbone", "momentum_projector", "projector", "predictor"):
        expected = getattr(plain, name).state_dict()
        for key, value in getattr(framework, name).state_dict().items():
            torch.testing.assert_close(value, expected[key], rtol=1e-7, atol=1e-9, msg=f"{name}.{key}")


def test_the_momentum_encoder_gets_no_gradient_and_starts_as_a_copy():
    framework = small()
    for name, value in framework.backbone.state_dict().items():
        assert torch.equal(value, framework.momentum_backbone.state_dict()[name])
    framework(*views()).backward()
    for module in (framework.momentum_backbone, framework.momentum_projector):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())


def test_freezing_stops_the_patch_convolution_but_not_its_norm():
    framework = small(freeze_patch_embed=True)
    assert not any(p.requires_grad for p in framework.backbone.patch_embed.proj.parameters())
    assert all(p.requires_grad for p in framework.backbone.patch_embed.norm.parameters())
    framework(*views()).backward()
    assert framework.backbone.patch_embed.proj.weight.grad is None
    assert framework.backbone.patch_embed.norm.weight.grad.norm() > 0


def test_loss_scale_replaces_twice_the_temperature():
    default, eq4 = small(temperature=0.1), small(temperature=0.1, loss_scale=1.0)
    assert default(*views()).item() == pytest.approx(0.2 * eq4(*views()).item(), rel=1e-12)


def test_diagnostics_tell_a_collapse_and_a_perfect_retrieval():
    framework = small()
    clips = views()[0]
    framework.momentum = 1.0
    framework.predictor = nn.Identity()
    framework(clips, clips)
    assert framework.stats["retrieval_top1"].item() == 1.0
    features = F.normalize(framework.backbone(clips), dim=1)
    spread = (features - features.mean(0)).square().mean(0).sqrt().mean().item()
    assert framework.stats["feature_std"].item() == pytest.approx(spread * features.shape[1] ** 0.5)
    assert spread > 1e-3
    framework(clips[:1].expand_as(clips), clips[:1].expand_as(clips))
    assert framework.stats["feature_std"].item() < 1e-9
    assert not any(value.requires_grad for value in framework.stats.values())


def test_bf16_autocast_keeps_the_loss_in_float32():
    framework = small().float()
    short, long = views().float()
    exact = copy.deepcopy(framework)(short, long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = framework(short, long)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)
