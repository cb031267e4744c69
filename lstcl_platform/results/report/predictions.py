"""What every test video was predicted as: the stored Parquet of each finished test, cell by cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lstcl_platform.results.report.manifests import load_manifest
from lstcl_platform.results.report.study import Study
from lstcl_platform.specs.stages import TESTS
from lstcl_platform.storage import read_bytes
from lstcl_platform.training.evaluate import UNDECODED

if TYPE_CHECKING:
    from lstcl_platform.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class CellPredictions:
    """Predictions of one cell over its finished seeds, which all saw the same videos.

    Attributes:
        cell: its name.
        video: row of each video in the test manifest, ascending, (N,).
        path: path of each, (N,).
        label: true class, (N,).
        predicted: (S, N), S seeds; `UNDECODED` where a video could not be decoded.
    """

    cell: str
    video: NDArray[np.int64]
    path: tuple[str, ...]
    label: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each video was right, (S, N)."""
        right: NDArray[np.bool_] = self.predicted == self.label
        return right

    @property
    def undecoded(self) -> list[str]:
        """Paths of the videos that could not be decoded."""
        lost = (self.predicted == UNDECODED).any(axis=0)
        return [path for path, bad in zip(self.path, lost, strict=True) if bad]


def read_predictions(tracker: "Tracker", study: Study) -> tuple[list[CellPredictions], list[str]]:
    """Predictions behind the study's leading metric, and what is missing of them.

    Returns:
        Cells in the order of the comparison, and a line for each file that is not there any more.
    """
    metric = study.comparison.metric
    if not metric.endswith("top1"):
        return [], []
    protocol = metric.removesuffix("top1")
    kind = "probe" if protocol else "evaluate"
    column = f"{protocol}predicted"
    tables: dict[str, list[pa.Table]] = {}
    missing = []
    for key, trials in study.trials_of(kind).items():
        record = study.stages[key]
        if record.state.status != "finished" or record.result.predictions is None:
            continue
        table = _table(tracker, record.result.run_id, record.result.predictions)
        if table is None or column not in table.column_names:
            missing.append(f"{trials[0].name}: {record.result.predictions} is not there any more")
            continue
        for trial in trials:
            tables.setdefault(study.cell_name(trial), []).append(table.sort_by("video"))
    order = [cell.name for cell in study.comparison.cells]
    return [_joined(name, tables[name], column) for name in order if name in tables], missing


def _joined(cell: str, tables: list[pa.Table], column: str) -> CellPredictions:
    """Seeds side by side; one that saw other videos than the first (an edited test set) is left out."""
    first = tables[0]
    video = first["video"].to_numpy()
    same = [table for table in tables if np.array_equal(table["video"].to_numpy(), video)]
    return CellPredictions(
        cell=cell,
        video=video,
        path=tuple(first["path"].to_pylist()),
        label=first["label"].to_numpy(),
        predicted=np.stack([table[column].to_numpy() for table in same]),
    )


def _table(tracker: "Tracker", run_id: str, location: str) -> pa.Table | None:
    """The stored file, or its copy among the artifacts where the training's folder is gone."""
    try:
        content = read_bytes(location)
    except OSError:
        try:
            content = tracker.stage_file(run_id, "predictions.parquet")
        except OSError:
            return None
    return pq.read_table(BytesIO(content))


def class_names(study: Study, predictions: Sequence[CellPredictions]) -> Mapping[int, str]:
    """Names of the labels that occur: the manifest's, or else the folders of their videos where those agree."""
    folders: dict[int, set[str]] = {}
    for cell in predictions:
        for path, label in zip(cell.path, cell.label.tolist(), strict=True):
            folders.setdefault(label, set()).add(path.rpartition("/")[0].rpartition("/")[2])
    tests = [study.stages[key] for kind in TESTS for key in study.trials_of(kind)]
    for digest in dict.fromkeys(record.manifest for record in tests):
        manifest = load_manifest(study, digest)
        if manifest is not None and len(manifest.classes) > max(folders, default=0):
            return {label: manifest.classes[label] for label in folders}
    told = {label: next(iter(names)) for label, names in folders.items() if len(names) == 1}
    distinct = len(set(told.values())) == len(folders) and "" not in told.values()
    return {label: told[label] if distinct else f"class {label}" for label in folders}
