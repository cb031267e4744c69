"""Rates from earlier runs: what the tracking store holds of finished stages, as a file of rates would say it."""

from collections.abc import Sequence
from typing import Any

from lstcl_platform.planning.rates import RatesSpec
from lstcl_platform.specs.validation import validate_fields
from lstcl_platform.tracking.measured import MeasuredStage

_SAME_LAUNCH = 3.0
"""Launches that began fewer seconds apart are taken for one."""


def rates_of_runs(stages: Sequence[MeasuredStage]) -> RatesSpec:
    """Rates of finished stages, newest first; a stage of another kind of record is passed over."""
    entries = [entry for stage in stages if (entry := _entry(stage)) is not None]
    rates, _ = validate_fields(RatesSpec, {"stages": entries, "launch_seconds": _launches(stages)})
    return RatesSpec() if rates is None else rates


def _entry(stage: MeasuredStage) -> dict[str, Any] | None:
    settings, workers = stage.settings, int(stage.fingerprint.get("world_size", 1))
    if "model.name" not in settings or not stage.fingerprint:
        return None
    gpu = stage.fingerprint.get("device") == "cuda"
    entry: dict[str, Any] = {
        "stage": stage.kind,
        "model": settings["model.name"],
        "attention": settings.get("model.attention", "divided"),
        "frames": int(settings["model.frames"]),
        "image_size": int(settings["model.image_size"]),
        "device": stage.fingerprint.get("device_name") if gpu else "cpu",
        "start_seconds": stage.first_batch,
    }
    rest = max(stage.seconds - stage.first_batch, 1e-3)
    if stage.videos is not None:
        views = int(settings[f"{stage.kind}.clips"]) * int(settings[f"{stage.kind}.crops"])
        return entry | {
            "views": views,
            "samples_per_second": stage.videos / rest / workers,
            "decode_seconds": 0.0,
            "end_seconds": 0.0,
        }
    if not stage.training:
        return None
    if stage.kind == "pretrain":
        entry["framework"] = settings["pretrain.framework.kind"]
    samples = stage.steps * int(settings[f"{stage.kind}.batch_size"])
    # Where decoding was not timed (runs of older versions), waiting for it is taken for a part of the step.
    waiting = 0.0 if stage.decode_seconds is None else stage.waiting
    return entry | {
        "samples_per_second": samples / max(stage.training - waiting, 1e-3) / workers,
        "decode_seconds": stage.decode_seconds or 0.0,
        "end_seconds": max(rest - stage.training, 0.0),
    }


def _launches(stages: Sequence[MeasuredStage]) -> list[float]:
    """Seconds from the command to the first stage of each launch."""
    found: list[tuple[float, float]] = []
    for stage in sorted(stages, key=lambda each: each.began):
        process = stage.began - stage.since_launch
        if all(abs(process - other) > _SAME_LAUNCH for other, _ in found):
            found.append((process, stage.since_launch))
    return [seconds for _, seconds in found if seconds > 0]
