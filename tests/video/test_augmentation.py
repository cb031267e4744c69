import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional

from lstcl_platform.specs.training import PretrainAugmentSpec
from lstcl_platform.video.augmentation import augment_clips, normalise_clips

SPEC = PretrainAugmentSpec()
NOTHING = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
PARAMETERS = torch.tensor(
    [
        NOTHING,
        [1.3, 0.6, 1.5, 0.1, 0, 0, 0],
        [0.5, 1.4, 0.4, -0.12, 1, 1.1, 17],
        [1, 1, 1, 0, 0, 2.0, 0],
        [1, 1, 1, 0, 1, 0, 0],
        [1.5, 0.7, 1, -0.15, 0, 0, 23],
    ]
)

CHANGES = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


@pytest.fixture(scope="module")
def clips():
    """uint8 (6, 3, 40, 32, 3), smooth enough for colours to matter."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (18, 3, 10, 8), dtype=torch.uint8, generator=generator)
    return functional.resize(small, [40, 32]).unflatten(0, (6, 3)).movedim(2, -1)


def by_torchvision(clip, parameters):
    *amounts, grey, sigma, order = parameters.tolist()
    frames = clip.movedim(-1, 1).float() / 255
    for number in list(itertools.permutations(range(4)))[int(order)]:
        frames = CHANGES[number](frames, amounts[number])
    if grey:
        frames = functional.rgb_to_grayscale(frames, 3)
    if sigma:
        frames = functional.gaussian_blur(frames, [13, 13], [sigma, sigma])
    return ((frames - 0.45) / 0.225).transpose(0, 1)


def test_each_sample_is_what_torchvision_makes_of_its_parameters(clips):
    batch = augment_clips(clips, PARAMETERS, SPEC)
    assert batch.shape == (6, 3, 3, 40, 32)
    assert batch.dtype == torch.float32
    for clip, parameters, result in zip(clips, PARAMETERS, batch, strict=True):
        torch.testing.assert_close(result, by_torchvision(clip, parameters), atol=2e-3, rtol=0)


def test_samples_without_a_draw_are_only_normalised(clips):
    batch = augment_clips(clips, PARAMETERS, SPEC)
    assert torch.equal(batch[0], normalise_clips(clips)[0])
    assert not torch.equal(batch[1], normalise_clips(clips)[1])


def test_one_draw_holds_for_the_whole_clip(clips):
    still = clips[:, :1].expand(-1, 3, -1, -1, -1).contiguous()
    batch = augment_clips(still, PARAMETERS, SPEC)
    assert torch.equal(batch[:, :, 0], batch[:, :, 1])
    assert torch.equal(batch[:, :, 0], batch[:, :, 2])


def test_neighbours_in_the_batch_change_nothing(clips):
    batch = augment_clips(clips, PARAMETERS, SPEC)
    for index in range(6):
        alone = augment_clips(clips[index : index + 1], PARAMETERS[index : index + 1], SPEC)
        torch.testing.assert_close(alone[0], batch[index], atol=1e-5, rtol=0)


def test_input_is_left_alone(clips):
    before = clips.clone()
    augment_clips(clips, PARAMETERS, SPEC)
    assert torch.equal(before, clips)


def test_blur_shrinks_with_tiny_frames():
    tiny = torch.full((1, 2, 4, 4, 3), 200, dtype=torch.uint8)
    blurred = augment_clips(tiny, torch.tensor([[1, 1, 1, 0, 0, 2.0, 0]]), SPEC)
    torch.testing.assert_close(blurred, normalise_clips(tiny))


def test_normalised_values_and_layout():
    clip = torch.zeros(2, 4, 5, 6, 7, 3, dtype=torch.uint8)
    clip[..., 2] = 255
    result = normalise_clips(clip)
    assert result.shape == (2, 4, 3, 5, 6, 7)
    assert result[:, :, 0].unique().tolist() == pytest.approx([-2.0])
    assert result[:, :, 2].unique().tolist() == pytest.approx([0.55 / 0.225])


def test_wrong_parameters_are_refused(clips):
    with pytest.raises(ValueError, match=r"shape \(6, 5\), expected \(6, 7\)"):
        augment_clips(clips, PARAMETERS[:, :5], SPEC)
