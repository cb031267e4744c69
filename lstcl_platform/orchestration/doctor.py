"""Is this cluster, store and data fit to train on, and do N workers equal one?"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstcl_platform.orchestration.cluster import Capacity, connected
from lstcl_platform.orchestration.findings import (
    LAUNCHER,
    Finding,
    NodeReport,
    judge_arithmetic,
    judge_clocks,
    judge_collective,
    judge_data,
    judge_nodes,
    judge_storage,
    judge_versions,
    judge_workers,
)
from lstcl_platform.orchestration.node_probe import TOKEN_FILE, ask_nodes, first_frames, versions
from lstcl_platform.orchestration.preflight import place
from lstcl_platform.orchestration.worker_check import MEGABYTES, run_workers
from lstcl_platform.specs import expand
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.frameworks import FrameworkSpec, MoCoV3Spec
from lstcl_platform.specs.run import ResourcesSpec, StorageSpec, TrackingSpec
from lstcl_platform.specs.wording import numbered
from lstcl_platform.storage import delete_tree, join, write_bytes
from lstcl_platform.storage.places import place_of
from lstcl_platform.tracking.location import sqlite_file, tracking_uri
from lstcl_platform.tracking.secrets import mask_text
from lstcl_platform.training.agreement import (
    TOLERANCE,
    VIDEOS_A_WORKER,
    StepFigures,
    disagreement,
    reference_step,
)

_VIDEOS = 4
"""Videos of each data path that every node opens."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Patient:
    """What is examined.

    Attributes:
        framework: whose step is compared.
        family: of the backbone around which it is.
        workers: training processes.
        resources: of a stage, or None without a spec.
        storage: path or URI.
        tracking: MLflow's URI.
        sources: data that its trials read, or None without a spec.
        renders: data that is missing is rendered by a launch.
    """

    framework: FrameworkSpec
    family: str
    workers: int | None
    resources: ResourcesSpec | None
    storage: str
    tracking: str
    sources: tuple[str, ...] | None = None
    renders: bool = False


def examine(spec: ExperimentSpec | None, *, address: str | None, tell: Tell) -> list[Finding]:
    """Look at everything that a launch of `spec` would rely on; without one, at the defaults' storage and tracking.

    Args:
        spec: resolved experiment, or None; of its trials, the first one that pretrains gives the step.
        address: Ray cluster; None starts a local one.
        tell: told what is looked at.

    Returns:
        Findings in the order of the checks; a check that another's failure makes impossible says so.

    Raises:
        UserError: nothing answers at `address`.
    """
    patient = _patient() if spec is None else _patient_of(spec)
    tell("tracking, storage and data from this process")
    findings = [_tracking(patient)]
    videos, problem = _some_videos(patient)
    with connected(address) as capacity:
        workers = patient.workers or _workers_without_spec(capacity)
        step = (patient.framework, patient.family, VIDEOS_A_WORKER * workers)
        expected = reference_step(step[0], step[1], videos=step[2])
        folder, token = join(patient.storage, f"doctor-{uuid.uuid4().hex[:8]}"), uuid.uuid4().bytes
        try:
            write_bytes(join(folder, TOKEN_FILE), token)
        except OSError as error:
            text = f"{patient.storage}: this process cannot write: {error}"
            return [*findings, Finding(check="storage", status="fail", detail=text)]
        try:
            tell("every node")
            reports = ask_nodes(storage=folder, token=token, videos=videos, step=step, expected=expected)
            findings += _node_findings(reports, patient, videos=videos, problem=problem)
            if patient.resources is not None:
                findings.append(_placement(patient.resources, capacity))
            tell(f"{numbered(workers, 'worker')} together")
            findings += _worker_findings(
                patient, capacity, reports, workers=workers, expected=expected, folder=folder
            )
        finally:
            delete_tree(folder)
    return findings


def _patient() -> _Patient:
    storage = StorageSpec(path=str(Path(StorageSpec().path).absolute()))
    return _Patient(
        framework=MoCoV3Spec(),
        family="st_swin",
        workers=None,
        resources=None,
        storage=storage.path,
        tracking=tracking_uri(TrackingSpec(), storage),
    )


def _patient_of(spec: ExperimentSpec) -> _Patient:
    trials = [trial.spec for trial in expand(spec).trials]
    trial = next((trial for trial in trials if trial.pretrain is not None), trials[0])
    return _Patient(
        framework=MoCoV3Spec() if trial.pretrain is None else trial.pretrain.framework,
        family=trial.model.name.rpartition("_")[0],
        workers=max(2, trial.resources.workers),
        resources=trial.resources,
        storage=spec.storage.path,
        tracking=tracking_uri(spec.tracking, spec.storage),
        sources=tuple(dict.fromkeys(source for trial in trials for source in trial.sources())),
        renders=trial.data.synthesize is not None,
    )


def _workers_without_spec(capacity: Capacity) -> int:
    """One a GPU, or one a node; two at least, for one alone has nobody to agree with."""
    return max(2, int(capacity.gpus) or capacity.nodes)


def _tracking(patient: _Patient) -> Finding:
    shown = mask_text(patient.tracking)
    database = sqlite_file(patient.tracking)
    if database is not None and not database.exists():
        folder = next(parent for parent in database.parents if parent.exists())
        if os.access(folder, os.W_OK):
            return Finding(check="tracking", status="ok", detail=f"{shown}: not there yet, can be made")
        return Finding(check="tracking", status="fail", detail=f"{shown}: {folder} cannot be written to")
    from lstcl_platform.tracking.store import open_client

    try:
        open_client(patient.tracking, artifact_location=None)
    except UserError as error:
        return Finding(check="tracking", status="fail", detail=str(error))
    return Finding(check="tracking", status="ok", detail=f"{shown} answers")


def _some_videos(patient: _Patient) -> tuple[list[str], str]:
    """A few videos of each data path, and what is wrong with the paths (empty: nothing)."""
    videos: list[str] = []
    for source in patient.sources or ():
        if patient.renders and not place_of(source).exists():
            continue
        try:
            videos += _spread(list(_list(source)))
        except (UserError, OSError) as error:
            return videos, str(error)
    return videos, ""


def _list(source: str) -> Iterator[str]:
    from lstcl_platform.video.manifest import Manifest
    from lstcl_platform.video.sources import list_videos

    if source.endswith(".parquet"):
        manifest = Manifest.load(source)
        paths = manifest.table.column("path").to_pylist()
        yield from (str(manifest.root / paths[row]) for row in manifest.usable)
        return
    listing = list_videos(source)
    yield from (str(listing.root / video.path) for video in listing.videos)


def _spread(videos: list[str]) -> list[str]:
    picks = np.unique(np.linspace(0, len(videos) - 1, min(_VIDEOS, len(videos))).round().astype(int))
    return [videos[pick] for pick in picks]


def _node_findings(
    reports: list[NodeReport], patient: _Patient, *, videos: list[str], problem: str
) -> Iterator[Finding]:
    yield judge_nodes(reports)
    heard = [report for report in reports if not report.error]
    yield judge_versions({LAUNCHER: versions()} | {report.node: report.versions for report in heard})
    if not heard:
        return
    yield judge_clocks(heard)
    yield judge_storage(heard, location=patient.storage)
    if patient.sources is not None:
        yield _data(heard, videos=videos, problem=problem)
    yield judge_arithmetic(heard, tolerance=TOLERANCE)


def _data(heard: list[NodeReport], *, videos: list[str], problem: str) -> Finding:
    if problem:
        return Finding(check="data", status="fail", detail=problem)
    if not videos:
        return Finding(check="data", status="ok", detail="not there yet: launch renders it")
    return judge_data({LAUNCHER: first_frames(videos)} | {report.node: report.frames for report in heard})


def _placement(resources: ResourcesSpec, capacity: Capacity) -> Finding:
    try:
        placement = place(resources, capacity, stages=1)
    except UserError as error:
        return Finding(check="resources", status="fail", detail=str(error))
    if placement.waits_for:
        text = f"a stage fits once the autoscaler has brought {placement.waits_for}"
        return Finding(check="resources", status="warn", detail=text)
    text = f"a stage of {numbered(placement.workers, 'worker')} fits"
    left = numbered(placement.decode.cpus, "CPU")
    return Finding(check="resources", status="ok", detail=f"{text}; left for decoding: {left}")


def _worker_findings(
    patient: _Patient,
    capacity: Capacity,
    reports: list[NodeReport],
    *,
    workers: int,
    expected: StepFigures,
    folder: str,
) -> list[Finding]:
    if any(report.error or report.storage_error for report in reports):
        text = "not run: every node must run our code and reach the storage first"
        return [
            Finding(check=check, status="fail", detail=text) for check in ("collectives", "N workers = one")
        ]
    gpus = capacity.gpus >= workers and (
        patient.resources is None or patient.resources.gpus_per_worker not in (0, 0.0)
    )
    try:
        found = run_workers(
            patient.framework,
            patient.family,
            videos=VIDEOS_A_WORKER * workers,
            workers=workers,
            gpus=gpus,
            folder=folder,
        )
    except (
        Exception
    ) as error:  # whatever stops a job here would stop a stage; the other findings must be seen
        text = f"{numbered(workers, 'worker')} did not finish: {str(error).strip().splitlines()[-1]}"
        return [Finding(check="collectives", status="fail", detail=text)]
    return [
        judge_collective(
            backend=found.backend,
            workers=workers,
            megabytes=MEGABYTES,
            seconds=found.seconds,
            links=found.links,
        ),
        judge_workers(
            workers=workers,
            framework=patient.framework.kind,
            error=disagreement(found.step, expected),
            tolerance=TOLERANCE,
            odd=found.odd,
        ),
    ]
