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
        newest: dict[StageKind, str] = {}
        chain: list[str] = []
        rungs: list[str] = []
        for kind, parent_kind, until, identity in _identities(trial, manifests):
            parent = newest.get(parent_kind) if parent_kind else None
            identity["parent"] = parent
            key = hash_identity(identity)
            known = stages.get(key)
            if known is None:
                known = Stage(
                    kind=kind, key=key, parent=parent, identity=identity, spec=trial.spec, until=until
                )
            earlier = known.earlier
            if kind == "finetune":
                found = dict.fromkeys((*earlier, *rungs))
                earlier = tuple(sorted(found, key=lambda rung: stages[rung].until or 0))
                rungs.append(key)
            stages[key] = replace(known, trials=(*known.trials, name), earlier=earlier)
            newest[kind] = key
            chain.append(key)
        chains[name] = tuple(chain)
    return StageGraph(stages=stages, chains=chains)


def _identities(
    trial: Trial, manifests: Mapping[str, str]
) -> Iterable[tuple[StageKind, StageKind | None, int | None, dict[str, Any]]]:
    """Stages of a trial in order of execution: kind, kind of the parent, `Stage.until`, and what the result means."""
    spec = trial.spec
    train, val = manifests[spec.data.train], manifests[spec.data.val]
    if spec.pretrain is not None:
        block = spec.pretrain.model_dump(mode="json")
        block["contrast_batch"] = spec.pretrain.effective_contrast_batch
        yield "pretrain", None, None, _identity("pretrain", spec, manifests[spec.data.pretraining], block)
    views = spec.evaluate.model_dump(mode="json", exclude={"protocols", "knn", "linear"})
    views["stride"] = spec.finetune.stride if spec.evaluate.stride is None else spec.evaluate.stride
    if spec.evaluate.frozen_protocols:
        block = {**views, "indexing": spec.finetune.indexing, "train": train}
        block |= {name: getattr(spec.evaluate, name).model_dump() for name in spec.evaluate.frozen_protocols}
        if spec.pretrain is None:
            block["seed"] = spec.finetune.seed
        yield "probe", "pretrain", None, _identity("probe", spec, val, block)
    if "finetuned" in spec.evaluate.protocols:
        block = spec.finetune.model_dump(mode="json")
        block["drop_path"] = spec.finetune_drop_path
        block["layer_decay"] = spec.finetune_layer_decay
        rungs = () if trial.halving is None else trial.halving.after_epochs
        for until in (*rungs, None):
            # A rung follows the schedule of the whole finetuning, so its identity is that one's and where it ends.
            rung = {} if until is None else {"until_epoch": until}
            yield "finetune", "pretrain", until, _identity("finetune", spec, train, block) | rung
            yield "evaluate", "finetune", until, _identity("evaluate", spec, val, views)


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
