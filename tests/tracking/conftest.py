from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.specs.stages import Stage, StageGraph, Trial, hash_identity
from lstcl_platform.tracking.tracker import Tracker


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def tracker(storage: Path) -> Tracker:
    return Tracker(f"sqlite:///{storage / 'mlflow.db'}", artifact_location=str(storage / "artifacts"))


DATA = DataSpec(train="/data/train", val="/data/val")


def make_stage(name: str, *, kind: Any = "pretrain", parent: str | None = None, **identity: Any) -> Stage:
    identity = {"name": name, "kind": kind, "parent": parent, **identity}
    return Stage(
        kind=kind,
        key=hash_identity(identity),
        parent=parent,
        identity=identity,
        spec=TrialSpec(data=DATA),
    )


def make_study(
    name: str, cells: list[Mapping[str, Any]], **fields: Any
) -> tuple[ExperimentSpec, list[Trial], StageGraph]:
    """An experiment whose trials share one pretraining for each pair of strides."""
    spec = ExperimentSpec.model_validate({"name": name, "data": DATA, **fields})
    trials, stages, chains = [], {}, {}
    for cell in cells:
        label = " ".join(f"{field.rsplit('.', 1)[-1]}={value}" for field, value in cell.items())
        trial = Trial(experiment=name, name=label, cell=cell, spec=TrialSpec(data=DATA))
        first = make_stage(name, strides={key: value for key, value in cell.items() if "stride" in key})
        second = make_stage(name, kind="finetune", parent=first.key, cell=dict(cell))
        third = make_stage(name, kind="evaluate", parent=second.key)
        stages.update({stage.key: stage for stage in (first, second, third)})
        chains[f"{name}/{label}"] = (first.key, second.key, third.key)
        trials.append(trial)
    return spec, trials, StageGraph(stages=stages, chains=chains)
