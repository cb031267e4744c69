"""Public weights: the same numbers come out as of the public code, and no tensor goes unaccounted for."""

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from lstcl_platform.models import SpaceTimeSwin, TimeSformer, build_backbone, save_weights
from lstcl_platform.models.classifier import Classifier
from lstcl_platform.models.initial_weights import adopt, load_initial_weights
from lstcl_platform.models.public_names import TIMM_SWIN, VIT
from lstcl_platform.models.windows import relative_position_index
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.weights import (
    NativeWeights,
    TimeSformerWeights,
    TimmWeights,
    VideoSwinWeights,
)
from tests.fixtures import arrays

TIMESFORMER = {"dim": 64, "depth": 2, "heads": 4, "patch": 8, "frames": 8, "image_size": 32}
SWIN = {"dim": 24, "depths": (2, 2), "heads": (3, 6)}


def relative(found, expected):
    return ((found - expected).abs().max() / expected.square().mean().sqrt()).item()


def randomised(module, seed=0):
    """Every tensor random: a new model's zeros and ones would hide what is mixed up."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(0.3 * noise + name.endswith(("norm.weight", "norm1.weight", "norm2.weight")))
    return module.eval()


def saved(tensors, path):
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return str(path)


@pytest.fixture
def vit():
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=5)
    return randomised(model.double())


@pytest.fixture
def swin():
    model = SwinTransformer(img_size=56, embed_dim=24, depths=(2, 2), num_heads=(3, 6), num_classes=5)
    return randomised(model.double())


def still(frames, side):
    """One image as a clip, and the image."""
    image = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return image.unsqueeze(2).expand(-1, -1, frames, -1, -1), image


@pytest.mark.parametrize("attention", ["divided", "space_only"])
def test_a_vit_sees_a_still_clip_as_timm_sees_the_image(vit, tmp_path, attention):
    model = TimeSformer(**TIMESFORMER, attention=attention).double().eval()
    weights = TimmWeights(file=saved(vit.state_dict(), tmp_path / "vit.safetensors"))
    report = load_initial_weights(model, weights)
    clip, image = still(8, 32)
    assert relative(model(clip).detach(), vit.forward_features(image)[:, 0].detach()) < 1e-9
    assert set(report.unused) == {"head.weight", "head.bias"}
    assert not report.interpolated
    if attention == "divided":
        assert set(report.new) == {
            "time_embed",
            *(f"blocks.{i}.temporal_fc.{part}" for i in (0, 1) for part in ("weight", "bias")),
        }
        assert report.renamed["blocks.1.temporal_attn.qkv.weight"] == "blocks.1.attn.qkv.weight"
        assert report.renamed["blocks.0.temporal_norm1.bias"] == "blocks.0.norm1.bias"
        twins = model.blocks[1]
        assert torch.equal(twins.temporal_attn.proj.weight, twins.attn.proj.weight)
    assert len(report.loaded) == len(vit.state_dict()) - 2
    assert str(report).startswith(f"initial weights from {weights.file}: {len(report.loaded)} loaded, ")


@pytest.mark.parametrize("window", [(1, 7, 7), (8, 7, 7)], ids=["per frame", "space-time"])
def test_a_swin_sees_a_still_clip_as_timm_sees_the_image(swin, tmp_path, window):
    model = SpaceTimeSwin(**SWIN, window=window).double().eval()
    weights = TimmWeights(file=saved(swin.state_dict(), tmp_path / "swin.safetensors"))
    report = load_initial_weights(model, weights)
    clip, image = still(8, 56)
    expected = swin.forward_head(swin.forward_features(image), pre_logits=True)
    assert relative(model(clip).detach(), expected.detach()) < 1e-9
    assert report.renamed == {
        f"layers.0.downsample.{part}": f"layers.1.downsample.{part}"
        for part in ("reduction.weight", "norm.weight", "norm.bias")
    }
    inflated = [name for name in report.interpolated if name.endswith("bias_table")]
    assert len(inflated) == (4 if window[0] == 8 else 0)
    assert "patch_embed.proj.weight" in report.interpolated
    assert set(report.unused) == {"head.fc.weight", "head.fc.bias"}


def test_microsofts_names_and_buffers_are_known(swin, tmp_path):
    theirs = {}
    for name, value in swin.state_dict().items():
        name = name.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head")
        theirs[name] = value
    theirs["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    torch.save({"model": theirs, "epoch": 300}, tmp_path / "swin.pth")
    model = SpaceTimeSwin(**SWIN, window=(1, 7, 7)).double().eval()
    report = load_initial_weights(model, TimmWeights(file=str(tmp_path / "swin.pth")))
    clip, image = still(2, 56)
    expected = swin.forward_head(swin.forward_features(image), pre_logits=True)
    assert relative(model(clip).detach(), expected.detach()) < 1e-9
    assert not report.renamed
    assert len(report.unused) == 4


def test_a_swin_of_small_images_keeps_its_distances(tmp_path):
    """timm makes the second stage's table for windows of 4: our windows of 7 shrink to the same 4."""
    swin = SwinTransformer(img_size=32, embed_dim=24, depths=(2, 2), num_heads=(3, 6), num_classes=5)
    randomised(swin.double())
    assert len(swin.layers[1].blocks[0].attn.relative_position_bias_table) == 7**2
    model = SpaceTimeSwin(**SWIN, window=(1, 7, 7)).double().eval()
    report = load_initial_weights(
        model, TimmWeights(file=saved(swin.state_dict(), tmp_path / "s.safetensors"))
    )
    how = report.interpolated["layers.1.blocks.0.attn.relative_position_bias_table"]
    assert "window 4 put in the middle of 7" in how
    clip, image = still(2, 32)
    # The first stage has 8 x 8 tokens: timm and ours pad its windows alike only without a shift.
    for stage in (swin.layers[0], model.layers[0]):
        stage.blocks = stage.blocks[:1]
    expected = swin.forward_head(swin.forward_features(image), pre_logits=True)
    assert relative(model(clip).detach(), expected.detach()) < 1e-9


@pytest.mark.parametrize(
    ("name", "backbone", "naming", "interpolated"),
    [
        ("vit_base_patch16_224", "timesformer_base", VIT, 0),
        ("vit_base_patch16_384", "timesformer_base", VIT, 1),
        ("vit_small_patch16_224", "timesformer_small", VIT, 0),
        ("vit_tiny_patch16_224", "timesformer_tiny", VIT, 0),
        ("swin_base_patch4_window7_224", "swin_base", TIMM_SWIN, 1),
        ("swin_base_patch4_window7_224", "st_swin_base", TIMM_SWIN, 25),
        ("swin_base_patch4_window12_384", "st_swin_base", TIMM_SWIN, 25),
        ("swin_small_patch4_window7_224", "st_swin_small", TIMM_SWIN, 25),
        ("swin_tiny_patch4_window7_224", "swin_tiny", TIMM_SWIN, 1),
    ],
)
def test_timms_models_fit_ours_of_the_same_size(name, backbone, naming, interpolated):
    with torch.device("meta"):
        found = timm.create_model(name).state_dict()
        ours = build_backbone(backbone, frames=8, image_size=224)
        report = adopt(ours, found, naming, source=name)
    assert len(report.interpolated) == interpolated
    parts = (report.loaded, report.renamed, report.interpolated, report.new)
    assert sorted(name for part in parts for name in part) == sorted(ours.state_dict())


def test_the_official_timesformer_gives_its_own_features(tmp_path):
    stored = {name: torch.from_numpy(value) for name, value in arrays("timesformer_8x32").items()}
    theirs = {f"model.{n.removeprefix('weight/')}": v.double() for n, v in stored.items() if "weight/" in n}
    torch.save({"epoch": 14, "model_state": theirs, "cfg": "MODEL: ..."}, tmp_path / "k400.pyth")
    weights = TimeSformerWeights(file=str(tmp_path / "k400.pyth"))
    model = TimeSformer(**TIMESFORMER).double().eval()
    report = load_initial_weights(model, weights)
    assert relative(model(stored["input"].double()).detach(), stored["features"]) < 1e-9
    assert set(report.unused) == {"model.head.weight", "model.head.bias"}
    assert len(report.renamed) == len(model.state_dict())

    larger = TimeSformer(**TIMESFORMER | {"frames": 12, "image_size": 48}).double()
    report = load_initial_weights(larger, weights)
    assert report.interpolated == {
        "pos_embed": "model.pos_embed: 4 x 4 places resized to 6 x 6 (bicubic)",
        "time_embed": "model.time_embed: 8 frames resized to 12 (nearest)",
    }
    with pytest.raises(
        UserError, match=r"16 with no place in the model: model.blocks.0.temporal_attn.proj.bias"
    ):
        load_initial_weights(TimeSformer(**TIMESFORMER, attention="joint"), weights)


def mmaction(model, head=True):
    """The checkpoint that mmaction would write of a model with these weights."""
    theirs = {f"backbone.{name}": value for name, value in model.state_dict().items()}
    index = relative_position_index(model.window, model.window)
    theirs |= {f"backbone.layers.{i}.blocks.0.attn.relative_position_index": index for i in (0, 1)}
    theirs |= {"cls_head.fc_cls.weight": torch.zeros(3, 48), "cls_head.fc_cls.bias": torch.zeros(3)}
    return {"meta": {"epoch": 30, "config": "..."}, "state_dict": theirs}


def test_the_official_video_swin_gives_its_own_features(tmp_path):
    stored = {name: torch.from_numpy(value) for name, value in arrays("video_swin_8x56").items()}
    source = SpaceTimeSwin(**SWIN)
    source.load_state_dict({n.removeprefix("weight/"): v for n, v in stored.items() if "weight/" in n})
    torch.save(mmaction(source), tmp_path / "k400.pth")
    model = SpaceTimeSwin(**SWIN).double().eval()
    report = load_initial_weights(model, VideoSwinWeights(file=str(tmp_path / "k400.pth")))
    assert relative(model(stored["input"].double()).detach(), stored["features"]) < 1e-9
    assert len(report.renamed) == len(model.state_dict())
    assert len(report.unused) == 4


def test_patches_of_two_frames_and_longer_windows_are_brought_to_ours(tmp_path):
    """On still frames two taps act as their sum; windows of 16 hold the offsets that windows of 8 need."""
    source = randomised(SpaceTimeSwin(**SWIN, window=(16, 7, 7), patch=(2, 4, 4)).double())
    torch.save(mmaction(source), tmp_path / "ssv2.pth")
    model = SpaceTimeSwin(**SWIN).double().eval()
    report = load_initial_weights(model, VideoSwinWeights(file=str(tmp_path / "ssv2.pth")))
    frames = torch.randn(1, 3, 8, 56, 56, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = source(frames.repeat_interleave(2, dim=2))
    assert relative(model(frames).detach(), expected.detach()) < 1e-9
    assert (
        "window of 16 frames cut to 8"
        in report.interpolated["layers.1.blocks.1.attn.relative_position_bias_table"]
    )
    with pytest.raises(UserError, match=r"4 of another shape: .*relative_position_bias_table"):
        load_initial_weights(
            SpaceTimeSwin(**SWIN, window=(24, 7, 7)), VideoSwinWeights(file=str(tmp_path / "ssv2.pth"))
        )


def test_our_own_weights_of_a_backbone_and_of_a_classifier(tmp_path):
    backbone = randomised(build_backbone("timesformer_micro", frames=8, image_size=32))
    save_weights(backbone, tmp_path / "backbone.safetensors")
    save_weights(Classifier(backbone, 3), tmp_path / "classifier.safetensors")
    for name, unused in (("backbone", 0), ("classifier", 2)):
        ours = build_backbone("timesformer_micro", frames=8, image_size=32)
        report = load_initial_weights(ours, NativeWeights(file=str(tmp_path / f"{name}.safetensors")))
        assert all(torch.equal(value, ours.state_dict()[n]) for n, value in backbone.state_dict().items())
        assert len(report.unused) == unused


def test_what_is_not_explained_is_refused_by_name_and_changes_nothing(vit, tmp_path):
    model = TimeSformer(**TIMESFORMER).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken = dict(vit.state_dict())
    del broken["blocks.1.norm2.weight"]
    broken["blocks.0.ls1.gamma"] = torch.ones(64)
    broken["norm.bias"] = torch.ones(65)
    with pytest.raises(UserError) as caught:
        load_initial_weights(model, TimmWeights(file=saved(broken, tmp_path / "vit.safetensors")))
    message = str(caught.value)
    assert "1 missing: blocks.1.norm2.weight" in message
    assert "1 with no place in the model: blocks.0.ls1.gamma" in message
    assert "1 of another shape: norm.bias (file [65], model [64])" in message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_file_that_cannot_be_trusted_is_refused(vit, tmp_path):
    model = TimeSformer(**TIMESFORMER)
    path = tmp_path / "vit.pth"
    with pytest.raises(UserError, match="cannot read the weights: No such file"):
        load_initial_weights(model, NativeWeights(file=str(path)))
    torch.save(vit, path)
    with pytest.raises(UserError, match="not readable as a checkpoint of plain tensors"):
        load_initial_weights(model, NativeWeights(file=str(path)))
    torch.save({"epoch": 3}, path)
    with pytest.raises(UserError, match="holds no tensors by name"):
        load_initial_weights(model, NativeWeights(file=str(path)))
    with pytest.raises(UserError, match=r"the file's SHA-256 is [0-9a-f]{64}, but sha256 states 0000"):
        load_initial_weights(model, NativeWeights(file=str(path), sha256="0" * 64))


def test_a_model_of_the_hub_is_found_in_its_cache(tmp_path, monkeypatch):
    """The hub's own client, offline, on a cache as an earlier download leaves it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    source = timm.create_model("vit_tiny_patch16_224")
    model = build_backbone("timesformer_tiny", frames=8, image_size=224)
    with pytest.raises(UserError, match=r"cannot fetch .* where there is no network, download the file"):
        load_initial_weights(model, TimmWeights(name=name))
    folder = tmp_path / f"models--timm--{name}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    saved(source.state_dict(), folder / "snapshots" / commit / "model.safetensors")
    report = load_initial_weights(model, TimmWeights(name=name))
    assert torch.equal(model.blocks[3].attn.qkv.weight, source.blocks[3].attn.qkv.weight)
    assert report.source == f"timm {name}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224.nope", "timm has no weights 'vit_tiny_patch16_224.nope'; did you mean"),
        ("vit_bse_patch16_224.augreg_in1k", "did you mean .*vit_base_patch16_224.augreg_in1k"),
    ],
)
def test_an_unknown_model_of_the_hub_is_refused_before_any_download(name, message):
    with pytest.raises(UserError, match=message):
        load_initial_weights(TimeSformer(**TIMESFORMER), TimmWeights(name=name))
