import pytest

from lstcl_platform.specs import TrialSpec, UserError
from lstcl_platform.specs.clip_span import check_clip_span
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.training import ClipPairSpec, EvaluateSpec, FinetuneSpec, PretrainSpec


def trial(*, target_fps: float | None = 30.0, **blocks) -> TrialSpec:
    return TrialSpec(data=DataSpec(train="train", val="val", target_fps=target_fps), **blocks)


@pytest.mark.parametrize(
    ("indexing", "stride", "frames"),
    [
        ("exact", 4, 29),
        ("exact", 8, 57),
        ("exact", 16, 113),
        ("exact", 32, 225),
        ("linspace", 8, 64),
        ("linspace", 32, 256),
    ],
)
def test_spans_are_those_of_the_reference(indexing, stride, frames):
    clips = ClipPairSpec(short_stride=4, long_stride=stride, indexing=indexing)
    spans = trial(
        pretrain=PretrainSpec(clips=clips), finetune=FinetuneSpec(stride=stride, indexing=indexing)
    ).clip_spans()
    assert spans == {"pretrain.clips.long_stride": frames, "finetune.stride": frames}


def test_clips_as_long_as_the_median_video_pass():
    check_clip_span(trial(), source="train", median_seconds=7.5, median_frames=1)
    check_clip_span(trial(target_fps=None), source="train", median_seconds=0.1, median_frames=225)


def test_clips_longer_than_most_videos_are_refused():
    with pytest.raises(UserError) as caught:
        check_clip_span(trial(), source="train", median_seconds=7.0, median_frames=10_000)
    assert (
        "pretrain.clips.long_stride: the clip spans 7.5 s (225 frames at data.target_fps 30), half of"
        in str(caught.value)
    )
    assert "finetune.stride" not in str(caught.value)
    with pytest.raises(UserError, match=r"the clip spans 225 frames, half of the videos have 224 or fewer"):
        check_clip_span(trial(target_fps=None), source="train", median_seconds=60, median_frames=224)


def test_every_stage_of_the_trial_is_checked():
    scratch = trial(pretrain=None, evaluate=EvaluateSpec(stride=64))
    with pytest.raises(UserError) as caught:
        check_clip_span(scratch, source="train", median_seconds=1.0, median_frames=30)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:3]] == [
        "finetune.stride",
        "evaluate.stride",
    ]
