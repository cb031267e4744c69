"""Whether the clips of a trial fit into the videos, once the videos are known."""

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec


def check_clip_span(spec: TrialSpec, *, source: str, median_seconds: float, median_frames: float) -> None:
    """Refuse strides whose clips are longer than most videos: most clips would end in repeated last frames.

    Args:
        spec: the trial.
        source: resolved path of the training data that was measured; clips cut from other data pass.
        median_seconds: median duration of the usable videos; counts where `data.target_fps` is set.
        median_frames: median number of frames; counts where `data.target_fps` is null.

    Raises:
        UserError: at least one clip spans more than the median video.
    """
    fps = spec.data.target_fps
    lines = []
    for field, span in spec.clip_spans().items():
        if source != (spec.data.pretraining if field.startswith("pretrain.") else spec.data.train):
            continue
        if fps is None and span > median_frames:
            lines.append(
                f"{field}: the clip spans {span} frames, half of the videos have {median_frames:g} or fewer"
            )
        elif fps is not None and span > median_seconds * fps:
            lines.append(
                f"{field}: the clip spans {span / fps:.3g} s ({span} frames at data.target_fps {fps:g}), "
                f"half of the videos last {median_seconds:.3g} s or less"
            )
    if lines:
        hint = f"Lower the stride or model.frames ({spec.model.frames}), or use longer videos."
        raise UserError("\n".join([f"{source}: clips do not fit the videos", *lines, hint]))
