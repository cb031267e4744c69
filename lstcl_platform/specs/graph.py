"""Trials -> the graph of stages they need, each stage once."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.stages import KEY_FORMAT, TESTS, Stage, StageGraph, StageKind, Trial, hash_identity

_UNTIL = "until_epoch"


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
        for kind, parent_kind, until, identity in _identities(trial, manifests):
            parent = newest.get(parent_kind) if parent_kind else None
            identity["parent"] = parent
            key = hash_identity(identity)
            known = stages.get(key)
            if known is None:
                known = Stage(
                    kind=kind, key=key, parent=parent, identity=identity, spec=trial.spec, until=until
                )
            stages[key] = replace(known, trials=(*known.trials, name))
            newest[kind] = key
            chain.append(key)
        chains[name] = tuple(chain)
    return StageGraph(stages=_with_earlier(stages), chains=chains)


def _with_earlier(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """`stages`, each with those that train the same for fewer epochs, whichever trial asks for them."""
    parts: dict[str, list[Stage]] = {}
    for stage in stages.values():
        if stage.until is not None and stage.kind not in TESTS:
            parts.setdefault(_whole(stage), []).append(stage)
    found = {}
    for key, stage in stages.items():
        shorter = [
            part
            for part in ([] if stage.kind in TESTS else parts.get(_whole(stage), []))
            if stage.until is None or (part.until or 0) < stage.until
        ]
        shorter.sort(key=lambda part: part.until or 0)
        found[key] = replace(stage, earlier=tuple(part.key for part in shorter))
    return found


def _whole(stage: Stage) -> str:
    """Key of the training to the end of which `stage` is a part, or which it is."""
    if stage.until is None:
        return stage.key
    return hash_identity({name: value for name, value in stage.identity.items() if name != _UNTIL})


def _identities(
    trial: Trial, manifests: Mapping[str, str]
) -> Iterable[tuple[StageKind, StageKind | None, int | None, dict[str, Any]]]:
    """Stages of a trial in order of execution: kind, kind of the parent, `Stage.until`, and what the result means."""
    spec = trial.spec
    train, val = manifests[spec.data.train], manifests[spec.data.val]
    pretrain: dict[str, Any] | None = None
    if spec.pretrain is not None:
        block = spec.pretrain.model_dump(mode="json")
        block["contrast_batch"] = spec.pretrain.effective_contrast_batch
        pretrain = _identity("pretrain", spec, manifests[spec.data.pretraining], block)
    views = spec.evaluate.model_dump(mode="json", exclude={"protocols", "knn", "linear", "probe_epochs"})
    views["stride"] = spec.finetune.stride if spec.evaluate.stride is None else spec.evaluate.stride
    block = {**views, "indexing": spec.finetune.indexing, "train": train}
    block |= {name: getattr(spec.evaluate, name).model_dump() for name in spec.evaluate.frozen_protocols}
    if spec.pretrain is None:
        block["seed"] = spec.finetune.seed
    probed = () if spec.pretrain is None else spec.evaluate.probe_epochs
    for until in (*probed, None):
        if pretrain is not None:
            yield "pretrain", None, until, pretrain | _part(until)
        if spec.evaluate.frozen_protocols:
            yield "probe", "pretrain", until, _identity("probe", spec, val, block)
    if "finetuned" in spec.evaluate.protocols:
        block = spec.finetune.model_dump(mode="json")
        block["drop_path"] = spec.finetune_drop_path
        block["layer_decay"] = spec.finetune_layer_decay
        rungs = () if trial.halving is None else trial.halving.after_epochs
        for until in (*rungs, None):
            yield "finetune", "pretrain", until, _identity("finetune", spec, train, block) | _part(until)
            yield "evaluate", "finetune", until, _identity("evaluate", spec, val, views)


def _part(until: int | None) -> dict[str, Any]:
    """What tells a training that ends early from the whole one, whose schedule it follows."""
    return {} if until is None else {_UNTIL: until}


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
