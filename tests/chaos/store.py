"""What an MLflow database says of a sweep's stages, read without MLflow: a hundred times a second if need be."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMING = frozenset(
    {
        *("step_seconds", "samples_per_second", "tflops", "mfu"),
        *("data_wait", "data_wait_seconds", "decode_seconds", "decode_cores"),
    }
)
"""Metrics that say how fast it went; all others must be equal to the last bit."""

_OF_STAGE = "JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'lstcl.stage_key'"


class Store:
    """Reads a tracking database.

    Args:
        database: SQLite file, which may be made later.
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    def steps(self) -> dict[str, int]:
        """Newest logged step of each stage; a finished one counts one more."""
        newest = self._rows(
            f"SELECT k.value, r.status, m.step FROM runs r {_OF_STAGE} LEFT JOIN latest_metrics m "
            "ON m.run_uuid = r.run_uuid AND m.key = 'step'"
        )
        found: dict[str, int] = {}
        for key, status, step in newest:
            found[key] = max(found.get(key, 0), (step or 0) + (status == "FINISHED"))
        return found

    def attempts(self) -> dict[str, str]:
        """Number of the newest attempt of each stage."""
        return dict(
            self._rows(
                f"SELECT k.value, a.value FROM runs r {_OF_STAGE} "
                "JOIN tags a ON a.run_uuid = r.run_uuid AND a.key = 'lstcl.attempt'"
            )
        )

    def running(self) -> tuple[str, str]:
        """Kind and key of the stage that runs now, or empty."""
        rows = self._rows(
            f"SELECT t.value, k.value FROM runs r {_OF_STAGE} "
            "JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'lstcl.kind' WHERE r.status = 'RUNNING'"
        )
        return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")

    def outcome(self) -> dict[str, Any]:
        """Of each stage: kind, digests, and every point of every metric but timing; fails if a step is there twice."""
        found: dict[str, Any] = {}
        tags: dict[str, dict[str, str]] = {}
        for run, name, value in self._rows("SELECT run_uuid, key, value FROM tags"):
            tags.setdefault(run, {})[name] = value
        for run, of in tags.items():
            if "lstcl.stage_key" not in of:
                continue
            points: dict[tuple[str, int], float] = {}
            for name, step, value in self._rows(
                f"SELECT key, step, value FROM metrics WHERE run_uuid = '{run}'"
            ):
                if name not in TIMING:
                    assert (name, step) not in points, f"{name} of step {step} was logged twice"
                    points[name, step] = value
            assert of["lstcl.stage_key"] not in found, f"two runs of one {of['lstcl.kind']}"
            found[of["lstcl.stage_key"]] = {
                "kind": of["lstcl.kind"],
                "status": of.get("lstcl.status"),
                "digest": of.get("lstcl.state_digest"),
                "weights": of.get("lstcl.weights_sha256"),
                "points": points,
            }
        return found

    def _rows(self, query: str) -> list[Any]:
        if not self._database.exists():
            return []
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=20)
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # no tables yet
            return []
        finally:
            connection.close()


def assert_equal_outcomes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Every digest, and every point of every metric outside timing."""
    assert ours.keys() == theirs.keys()
    for key, stage in theirs.items():
        assert stage["status"] == "finished"
        points = {name for name, _ in stage["points"]}
        assert points >= {"bad_videos", "top1" if stage["kind"] == "evaluate" else "loss"}
        different = {
            name
            for name in stage["points"].keys() | ours[key]["points"].keys()
            if ours[key]["points"].get(name) != stage["points"].get(name)
        }
        assert not different, f"{stage['kind']}: {sorted(different)[:5]}"
        assert ours[key] == stage
