"""TimeSformer against the public code's numbers, in all three kinds of attention and at other clip sizes."""

import pytest
import torch

from lstcl_platform.models.timesformer import TimeSformer
from tests.fixtures import arrays, numbers

SIZES = {"dim": 64, "depth": 2, "heads": 4, "patch": 8, "frames": 8, "image_size": 32}


def relative(found, expected):
    return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()


@pytest.fixture(scope="module")
def reference():
    return {name: torch.from_numpy(value) for name, value in arrays("timesformer_8x32").items()}


def with_weights(reference, attention="divided", **options):
    model = TimeSformer(**SIZES, attention=attention, **options).double().eval()
    weights = {n.removeprefix("weight/"): v.double() for n, v in reference.items() if n.startswith("weight/")}
    own = model.state_dict()
    model.load_state_dict({name: weights[name] for name in own})
    return model, weights["head.weight"], weights["head.bias"]


def check_gradients(model, clip, expected, input_norm):
    for name, parameter in model.named_parameters():
        assert parameter.grad.norm().item() == pytest.approx(expected[name], rel=1e-8), name
    assert clip.grad.norm().item() == pytest.approx(input_norm, rel=1e-8)


def test_output_and_every_gradient_equal_the_reference(reference):
    model, head, bias = with_weights(reference)
    clip = reference["input"].double().requires_grad_()
    features = model(clip)
    logits = features @ head.T + bias
    (logits * reference["cotangent"].double()).sum().backward()
    assert relative(features.detach(), reference["features"]) < 1e-9
    assert relative(logits.detach(), reference["logits"]) < 1e-9
    norms = {n.removeprefix("grad_norm/"): v.item() for n, v in reference.items() if "grad_norm/" in n}
    check_gradients(model, clip, norms, reference["input_grad_norm"].item())
    # The reference's gradient is stored in float32.
    assert relative(clip.grad[..., ::4, ::4], reference["input_grad_every_4th"].double()) < 2e-6


@pytest.mark.parametrize(
    "case",
    numbers("timesformer_variants"),
    ids=lambda c: f"{c['attention']} {len(c['frames'])}x{len(c['rows'])}x{len(c['columns'])}",
)
def test_kinds_of_attention_and_other_clip_sizes_equal_the_reference(reference, case):
    """The clip is put together from frames, rows and columns of the stored one."""
    model, head, bias = with_weights(reference, case["attention"])
    stored = reference["input"].double()
    clip = stored[:, :, case["frames"]][:, :, :, case["rows"]][..., case["columns"]].requires_grad_()
    logits = model(clip) @ head.T + bias
    assert relative(logits.detach(), torch.tensor(case["logits"], dtype=torch.float64)) < 1e-9
    (logits * reference["cotangent"].double()).sum().backward()
    check_gradients(model, clip, case["grad_norm"], case["input_grad_norm"])


def test_float32_is_close_to_the_reference(reference):
    model, _, _ = with_weights(reference)
    features = model.float()(reference["input"].float()).detach()
    assert relative(features.double(), reference["features"]) < 3e-5


def test_a_new_model_does_not_look_across_frames():
    model = TimeSformer(**SIZES)
    assert not any(block.temporal_fc.weight.any() or block.temporal_fc.bias.any() for block in model.blocks)
    assert not model.time_embed.any()
    clip = torch.randn(1, 3, 8, 32, 32)
    torch.testing.assert_close(model(clip), model(clip.flip(2)), rtol=1e-4, atol=1e-5)


def test_divided_attention_of_a_trained_model_depends_on_the_order_of_frames(reference):
    model, _, _ = with_weights(reference)
    clip = reference["input"].double()
    assert relative(model(clip.flip(2)), model(clip)) > 1e-2


def test_drop_path_grows_with_depth_and_acts_in_training_only():
    model = TimeSformer(**{**SIZES, "depth": 3}, drop_path=0.5)
    rates = [getattr(block.drop_path, "rate", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.25, 0.5])
    clip = torch.randn(2, 3, 8, 32, 32)
    assert not torch.equal(model(clip), model(clip))
    model.eval()
    assert torch.equal(model(clip), model(clip))
