"""Round trips: what is exported loads strictly into public code, computes the same there, and comes back."""

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from lstcl_platform.models import Classifier, backbone_of, load_initial_weights, save_weights
from lstcl_platform.models.export import export_weights
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.weights import NativeWeights, TimeSformerWeights, TimmWeights, VideoSwinWeights
from tests.fixtures import arrays

SPACE_ONLY = ModelSpec(name="timesformer_micro", image_size=32, attention="space_only")


def relative(found, expected):
    return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()


def classifier(model, folder):
    """A classifier with trained-looking weights, and the file that its stage would leave."""
    torch.manual_seed(3)
    module = Classifier(backbone_of(model), 5).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_weights(module, folder / "stage.safetensors")
    return module


def exported(model, folder, form):
    count = export_weights(folder / "stage.safetensors", folder / "out.safetensors", model=model, form=form)
    tensors = load_file(folder / "out.safetensors")
    assert len(tensors) == count
    return tensors


def frames_of(clip):
    return clip.transpose(1, 2).flatten(0, 1)


def test_swin_goes_to_timm_and_back(tmp_path):
    model = ModelSpec(name="swin_micro", image_size=32)
    ours = classifier(model, tmp_path)
    twin = SwinTransformer(
        img_size=32, patch_size=8, embed_dim=64, depths=(2,), num_heads=(4,), window_size=4, num_classes=5
    )
    twin.load_state_dict(exported(model, tmp_path, "timm"), strict=True)
    clip = torch.randn(2, 3, 8, 32, 32)
    each = twin.eval()(frames_of(clip)).unflatten(0, (2, 8))
    assert relative(ours(clip), each.mean(1)) < 1e-5
    back = backbone_of(model)
    load_initial_weights(back, TimmWeights(file=str(tmp_path / "out.safetensors")))
    assert all(torch.equal(value, back.state_dict()[n]) for n, value in ours.backbone.state_dict().items())


@pytest.mark.parametrize("form", ["timm", "official"])
def test_a_whole_swin_goes_into_timms_own_model(tmp_path, form):
    """timm's filter for checkpoints of microsoft/Swin-Transformer takes the official names."""
    model = ModelSpec(name="swin_tiny")
    torch.manual_seed(0)
    ours = Classifier(backbone_of(model), 1000).eval()
    save_weights(ours, tmp_path / "stage.safetensors")
    tensors = exported(model, tmp_path, form)
    overlay = {"state_dict": tensors, "num_classes": 1000}
    twin = timm.create_model("swin_tiny_patch4_window7_224", pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(
        twin.layers[1].downsample.reduction.weight, ours.backbone.layers[0].downsample.reduction.weight
    )
    image = torch.randn(1, 3, 224, 224)
    assert relative(ours(image.unsqueeze(2)), twin.eval()(image)) < 1e-5


def test_a_space_only_timesformer_goes_to_timms_vit(tmp_path):
    ours = classifier(SPACE_ONLY, tmp_path)
    twin = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=5)
    twin.load_state_dict(exported(SPACE_ONLY, tmp_path, "timm"), strict=True)
    clip = torch.randn(2, 3, 1, 32, 32)
    assert relative(ours(clip), twin.eval()(clip[:, :, 0])) < 1e-5


@pytest.mark.parametrize(
    ("model", "fixture", "head", "source"),
    [
        (
            ModelSpec(name="timesformer_micro", image_size=32),
            "timesformer_8x32",
            "model.head",
            TimeSformerWeights,
        ),
        (ModelSpec(name="st_swin_tiny"), "video_swin_8x56", "cls_head.fc_cls", VideoSwinWeights),
        (ModelSpec(name="swin_tiny"), "swin_2x112", "head", TimmWeights),
    ],
    ids=["timesformer", "st_swin", "swin"],
)
def test_official_names_are_those_of_the_official_code(tmp_path, model, fixture, head, source):
    """The names of two stages or blocks are those in the numbers that the official code left."""
    ours = classifier(model, tmp_path)
    tensors = exported(model, tmp_path, "official")
    assert {f"{head}.weight", f"{head}.bias"} <= set(tensors)
    prefix = {"timesformer_8x32": "model.", "video_swin_8x56": "backbone.", "swin_2x112": ""}[fixture]
    theirs = {name.removeprefix("weight/") for name in arrays(fixture) if name.startswith("weight/")}
    theirs -= {"head.weight", "head.bias"}
    assert {prefix + name for name in theirs} <= set(tensors)
    back = backbone_of(model)
    report = load_initial_weights(back, source(file=str(tmp_path / "out.safetensors")))
    assert all(torch.equal(value, back.state_dict()[n]) for n, value in ours.backbone.state_dict().items())
    assert set(report.unused) == {f"{head}.weight", f"{head}.bias"}


def test_the_official_timesformer_has_no_other_names_than_ours(tmp_path):
    classifier(ModelSpec(name="timesformer_micro", image_size=32), tmp_path)
    tensors = exported(ModelSpec(name="timesformer_micro", image_size=32), tmp_path, "official")
    theirs = {
        n.removeprefix("weight/"): v.shape for n, v in arrays("timesformer_8x32").items() if "weight/" in n
    }
    own = {name.removeprefix("model."): tuple(value.shape) for name, value in tensors.items()}
    assert own | {"head.weight": (10, 64), "head.bias": (10,)} == theirs


def test_native_is_what_the_stage_left(tmp_path):
    model = ModelSpec(name="st_swin_micro", image_size=32)
    ours = classifier(model, tmp_path)
    tensors = exported(model, tmp_path, "native")
    assert all(torch.equal(value, tensors[name]) for name, value in ours.state_dict().items())
    load_initial_weights(backbone_of(model), NativeWeights(file=str(tmp_path / "out.safetensors")))


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (ModelSpec(name="st_swin_micro", image_size=32), "st_swin_micro"),
        (ModelSpec(name="timesformer_micro", image_size=32), "timesformer_micro with divided attention"),
    ],
)
def test_timm_has_no_place_for_time(tmp_path, model, what):
    classifier(model, tmp_path)
    with pytest.raises(UserError, match=f"timm has no model for {what}, which looks across frames"):
        exported(model, tmp_path, "timm")


def test_weights_of_another_model_are_refused(tmp_path):
    classifier(SPACE_ONLY, tmp_path)
    with pytest.raises(UserError, match=r"not of swin_micro: .* missing: .*with no place in the model"):
        exported(ModelSpec(name="swin_micro", image_size=32), tmp_path, "timm")
