"""Space-Time Swin against the public Video-Swin's numbers and against torchvision's implementation."""

import re

import pytest
import torch
from torchvision.models.video import SwinTransformer3d

from lstcl_platform.models.st_swin import SpaceTimeSwin
from tests.fixtures import arrays

SIZES = {"dim": 24, "depths": (2, 2), "heads": (3, 6)}


def relative(found, expected):
    return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()


def torchvision_name(name):
    name = re.sub(r"^layers\.(\d)\.blocks\.", lambda m: f"features.{2 * int(m[1])}.", name)
    name = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 1}.", name)
    return name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")


@pytest.fixture(scope="module")
def reference():
    return {name: torch.from_numpy(value) for name, value in arrays("video_swin_8x56").items()}


@pytest.fixture
def model(reference):
    model = SpaceTimeSwin(**SIZES).double().eval()
    weights = {n.removeprefix("weight/"): v.double() for n, v in reference.items() if n.startswith("weight/")}
    model.load_state_dict(weights)
    return model


def torchvision_twin(model, window=(8, 7, 7)):
    """torchvision's Swin3D with the same weights, pooled and without its classifier."""
    twin = SwinTransformer3d(
        patch_size=[1, 4, 4],
        embed_dim=24,
        depths=[2, 2],
        num_heads=[3, 6],
        window_size=list(window),
        stochastic_depth_prob=0.0,
    )
    twin.head = torch.nn.Identity()
    weights = {torchvision_name(name): value for name, value in model.state_dict().items()}
    result = twin.double().load_state_dict(weights, strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith("relative_position_index") for key in result.missing_keys)
    return twin.eval()


def test_output_and_every_gradient_equal_the_reference(model, reference):
    clip = reference["input"].double().requires_grad_()
    features = model(clip)
    (features * reference["cotangent"].double()).sum().backward()
    assert relative(features.detach(), reference["features"]) < 1e-9
    for name, parameter in model.named_parameters():
        expected = reference[f"grad_norm/{name}"].item()
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-8), name
    assert clip.grad.norm().item() == pytest.approx(reference["input_grad_norm"].item(), rel=1e-8)
    # The reference's gradient is stored in float32.
    assert relative(clip.grad[..., ::4, ::4], reference["input_grad_every_4th"].double()) < 2e-6


def test_float32_is_close_to_the_reference(model, reference):
    features = model.float()(reference["input"].float()).detach()
    assert relative(features.double(), reference["features"]) < 3e-5


@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [(8, 56, 56), (16, 56, 56), (8, 60, 68), (11, 60, 56), (4, 56, 56), (1, 60, 60), (8, 58, 61)],
    ids=["exact", "temporal shift", "padded", "padded time", "short", "one frame", "part of a patch"],
)
def test_equals_torchvision(model, frames, height, width):
    generator = torch.Generator().manual_seed(frames)
    clip = torch.randn(2, 3, frames, height, width, dtype=torch.float64, generator=generator)
    ours, theirs = clip.clone().requires_grad_(), clip.clone().requires_grad_()
    twin = torchvision_twin(model)
    features, expected = model(ours), twin(theirs)
    assert relative(features.detach(), expected.detach()) < 1e-9
    cotangent = torch.randn(features.shape, dtype=torch.float64, generator=generator)
    (features * cotangent).sum().backward()
    (expected * cotangent).sum().backward()
    assert relative(ours.grad, theirs.grad) < 1e-8
    twin_grads = {name: p.grad for name, p in twin.named_parameters()}
    for name, parameter in model.named_parameters():
        assert relative(parameter.grad, twin_grads[torchvision_name(name)]) < 1e-8, name


@pytest.mark.parametrize("window", [(1, 7, 7), (2, 5, 3), (4, 7, 7), (16, 7, 7)], ids=str)
def test_other_windows_equal_torchvision(window):
    model = SpaceTimeSwin(**SIZES, window=window, init_std=0.2).double().eval()
    twin = torchvision_twin(model, window)
    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 3, 12, 60, 68, dtype=torch.float64, generator=generator)
    assert relative(model(clip).detach(), twin(clip).detach()) < 1e-9


def test_a_frame_smaller_than_the_window_uses_the_true_offsets(model):
    """Where torchvision and the reference slice the index of the full window, the geometry decides here."""
    clip = torch.randn(2, 3, 8, 24, 24, dtype=torch.float64)
    expected = model(clip)
    with torch.no_grad():
        for stage, size in zip(model.layers, [(8, 6, 6), (8, 3, 3)], strict=True):
            for block in stage.blocks:
                full = block.attn.relative_position_bias_table.view(15, 13, 13, -1)
                centred = [slice(w - s, w + s - 1) for w, s in zip((8, 7, 7), size, strict=True)]
                cut = full[centred[0], centred[1], centred[2]].flatten(0, 2)
                block.attn.relative_position_bias_table = torch.nn.Parameter(cut.clone())
            stage.window = size
    assert relative(model(clip), expected) < 1e-9


def test_clips_of_a_batch_do_not_influence_one_another(model):
    clips = torch.randn(3, 3, 8, 40, 56, dtype=torch.float64)
    torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), rtol=1e-10, atol=1e-12)


def test_trains_after_a_first_use_in_inference_mode():
    model = SpaceTimeSwin(**SIZES)
    clip = torch.randn(1, 3, 2, 68, 68)
    with torch.inference_mode():
        model(clip)
    model(clip).sum().backward()
    assert model.layers[0].blocks[1].attn.relative_position_bias_table.grad.norm() > 0


def test_drop_path_grows_with_depth_and_acts_in_training_only():
    model = SpaceTimeSwin(**SIZES, drop_path=0.5)
    rates = [getattr(block.drop_path, "rate", 0.0) for stage in model.layers for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.5 / 3, 1.0 / 3, 0.5])
    clip = torch.randn(4, 3, 2, 28, 28)
    assert not torch.equal(model(clip), model(clip))
    model.eval()
    assert torch.equal(model(clip), model(clip))
