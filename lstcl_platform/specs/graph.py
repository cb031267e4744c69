"""Trials -> the graph of stages they need, each stage once."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.stages import KEY_FORMAT, Stage, StageGraph, StageKind, Trial, hash_identity


def build_graph(trials: Iterable[Trial], *, manifests: Mapping[str, str]) -> StageGraph:
    """Merge the stages of `trials`, of one experiment or of several, by key.

    Args:
        trials: in the order in which their stages shall be listed.
        manifests: digest of the manifest behind each of the trials' `sources()`.

    Raises:
        UserError: two trials have the same experiment and name.
        KeyError: `manifests` lacks a path.
    """
    stages: dict[str, Stage] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for trial in trials:
        name = f"{trial.experiment}/{trial.name}"
        if name in chains:
            raise UserError(f"trial '{name}' is there twice: give each experiment a name of its own")
        chain: list[str] = []
        for kind, identity in _identities(trial.spec, manifests):
            parent = chain[-1] if chain else None
            identity["parent"] = parent
            key = hash_identity(identity)
            chain.append(key)
            known = stages.get(key)
            if known is None:
                known = Stage(kind=kind, key=key, parent=parent, identity=identity, spec=trial.spec)
            stages[key] = replace(known, trials=(*known.trials, name))
        chains[name] = tuple(chain)
    return StageGraph(stages=stages, chains=chains)


def _identities(spec: TrialSpec, manifests: Mapping[str, str]) -> Iterable[tuple[StageKind, dict[str, Any]]]:
    """What the result of each stage of a trial means, in order of execution, without the parent's key."""
    if spec.pretrain is not None:
        block = spec.pretrain.model_dump(mode="json")
        block["contrast_batch"] = spec.pretrain.effective_contrast_batch
        yield "pretrain", _identity("pretrain", spec, manifests[spec.data.pretraining], block)
    block = spec.finetune.model_dump(mode="json")
    block["drop_path"] = spec.finetune_drop_path
    block["layer_decay"] = spec.finetune_layer_decay
    yield "finetune", _identity("finetune", spec, manifests[spec.data.train], block)
    block = spec.evaluate.model_dump(mode="json")
    block["stride"] = spec.finetune.stride if spec.evaluate.stride is None else spec.evaluate.stride
    yield "evaluate", _identity("evaluate", spec, manifests[spec.data.val], block)


def _identity(kind: StageKind, spec: TrialSpec, manifest: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of `spec` that the stage's result depends on.

    Of `data` only the time grid and what lies beyond its end are in it: the manifest's digest stands for the
    videos, wherever they lie, and `max_bad_fraction` decides whether a run goes on, not what it computes. A file of
    initial weights is in it by its digest, too (`specs.weights.pinned`).
    """
    model = spec.model.model_dump(mode="json")
    if model["init"] is not None and model["init"]["sha256"] is not None:
        del model["init"]["file"]
    return {
        "format": KEY_FORMAT,
        "kind": kind,
        "model": model,
        "data": {
            "manifest": manifest,
            "target_fps": spec.data.target_fps,
            "short_videos": spec.data.short_videos,
        },
        kind: dict(block),
    }
