"""Numbers, durations and moments as people read them."""

import json
import time
from collections.abc import Mapping

from lstcl_platform.results.compare import BASELINES, Summary


def number(value: float) -> str:
    """Three digits after the point; enough digits for small and large values."""
    plain = value == 0 or 1e-2 <= abs(value) < 1e4
    return f"{value:.3f}" if plain else f"{value:.3g}"


def spread(summary: Summary) -> str:
    """``0.640 ± 0.012``; the mean alone for a single seed."""
    return number(summary.mean) if summary.sd is None else f"{number(summary.mean)} ± {summary.sd:.3f}"


def duration(seconds: float) -> str:
    """``48 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def moment(unix_seconds: float) -> str:
    """Local time; with the date when it was not today."""
    then = time.localtime(unix_seconds)
    today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then)


def baselines(values: Mapping[str, float]) -> str:
    """``majority class 0.240, nearest neighbour on the mean frame 0.520``."""
    return ", ".join(f"{BASELINES[name]} {number(value)}" for name, value in values.items())


def is_share(metric: str) -> bool:
    """Whether `metric` is an accuracy in [0, 1], which people read in percent."""
    return metric.endswith(("top1", "top5"))


def metric_label(metric: str) -> str:
    """``top-1 accuracy (%)``; a metric that is no accuracy goes by its name."""
    if not is_share(metric):
        return metric.replace("_", " ")
    protocol, _, top = metric.rpartition("_")
    names = {"": "", "knn": "k-NN ", "linear": "linear probe ", "train": "training "}
    return f"{names.get(protocol, protocol + ' ')}top-{top[3:]} accuracy (%)"


def value_text(value: float, metric: str) -> str:
    """A value as the paper writes it: accuracies in percent with one digit, others as `number`."""
    return f"{value * 100:.1f}" if is_share(metric) else number(value)


def signed(value: float, metric: str) -> str:
    """A difference with its sign, in points for accuracies."""
    text = value_text(abs(value), metric)
    zero = not any(digit in text for digit in "123456789")
    return text if zero else f"{'+' if value > 0 else '−'}{text}"


def json_text(value: object) -> str:
    """A setting as YAML would have it on one line; texts stand without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
