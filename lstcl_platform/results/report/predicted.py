"""What a launch was predicted to take, beside what it took."""

from collections.abc import Mapping
from typing import Any

from lstcl_platform.results.report.ran import KINDS
from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table, figure, text
from lstcl_platform.results.text import duration


def predicted_table(study: Study, prediction: Mapping[str, Any]) -> Table:
    """One line a kind of stage, and one for all: finished stages that a prediction was kept of.

    Args:
        study: the experiment.
        prediction: what its launch kept: stage key -> kind, basis of the rate, seconds (low, expected, high).
    """
    rows = []
    done = {
        key: study.stages[key].state.seconds
        for key in prediction
        if key in study.stages and study.stages[key].state.status == "finished"
    }
    for kind, word in [*KINDS.items(), ("", "all")]:
        keys = [key for key in done if kind in ("", prediction[key]["kind"])]
        if not keys:
            continue
        low, expected, high = (
            sum(prediction[key]["seconds"][end] for key in keys) for end in ("low", "expected", "high")
        )
        actual = sum(done[key] for key in keys)
        bases = [prediction[key]["basis"] for key in keys]
        counts = ", ".join(f"{bases.count(basis)} {basis}" for basis in dict.fromkeys(bases))
        rows.append(
            [
                text(word),
                figure(str(len(keys))),
                figure(duration(expected), f"{duration(low)} to {duration(high)}"),
                figure(duration(actual)),
                figure(
                    f"{actual / expected:.2f}" if expected else "–",
                    tone="" if low <= actual <= high else "warn",
                ),
                text(counts),
            ]
        )
    return Table(
        caption="Predicted and actual time of stages",
        head=["stage", "finished", "predicted", "actual", "actual / predicted", "rates"],
        rows=rows,
        note="Predicted by the launch before it ran anything, from earlier stages (measured, or scaled by operations) "
        "or from assumptions (guess). Time lost to other programs, retries and preemptions is in the actual time.",
    )
