"""Everything that it takes to get these numbers again."""

import json
from collections.abc import Mapping

from lstcl_platform.results.report.manifests import manifests_of
from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table, text
from lstcl_platform.results.text import json_text


def commands(study: Study) -> str:
    """What to type, with the requested YAML saved as a file."""
    lines = []
    if study.origin.commit:
        edited = "   # edited since: the commit alone does not say what ran" if study.origin.edited else ""
        lines.append(f"git checkout {study.origin.commit}{edited}")
    lines.append(f"lstcl-platform launch {study.name}.yaml   # the file below")
    lines.append(f"lstcl-platform report {study.name} -o report.html")
    return "\n".join(lines)


def origin_table(study: Study) -> Table:
    """Who asked for it, with which code, and where it is kept."""
    origin = study.origin
    edited = " with edited files" if origin.edited else ""
    rows = {
        "command": origin.command or "not recorded",
        "commit": f"{origin.commit}{edited}" if origin.commit else "not recorded",
        "lstcl_platform": origin.version or "not recorded",
        "MLflow store": study.store,
        "MLflow run": study.launch.run_id,
        "launches under this name": str(study.launch.launches),
    }
    return Table(
        caption="Where it comes from",
        head=["what", "value"],
        rows=[[text(name), text(value, code=True)] for name, value in rows.items()],
    )


def data_table(study: Study) -> Table:
    """Digest of every manifest that a stage read."""
    return Table(
        caption="Data, by the digest of their manifests",
        head=["source", "digest (SHA-256 over paths, labels and contents)"],
        rows=[
            [text(source, code=True), text(digest, code=True)]
            for source, digest in manifests_of(study).items()
        ],
    )


def seeds_table(study: Study) -> Table:
    """Every seed of every trial."""
    rows = []
    for trial in study.trials:
        swept = {path: value for path, value in trial.cell.items() if path.rsplit(".", 1)[-1] == "seed"}
        seeds = {**_common_seeds(study), **swept}
        rows.append(
            [text(trial.name), text(", ".join(f"{path}={value}" for path, value in seeds.items()), code=True)]
        )
    return Table(caption="Seeds", head=["trial", "seeds"], rows=rows)


def _common_seeds(study: Study) -> dict[str, int]:
    if study.spec is None:
        return {}
    pretraining = {} if study.spec.pretrain is None else {"pretrain.seed": study.spec.pretrain.seed}
    return {**pretraining, "finetune.seed": study.spec.finetune.seed}


def fingerprint_table(study: Study) -> Table:
    """How the numbers were computed; a line with several values is where bits may differ between stages."""
    values: dict[str, dict[str, None]] = {}
    for record in study.stages.values():
        fingerprint: Mapping[str, object] = record.result.fingerprint
        for name, value in fingerprint.items():
            values.setdefault(name, {})[json_text(value)] = None
    rows = [
        [text(name), text(" | ".join(each), code=True, tone="warn" if len(each) > 1 else "")]
        for name, each in values.items()
        if list(each) != ["null"]
    ]
    return Table(
        caption="Numerics fingerprint of all stages",
        head=["what", "value"],
        rows=rows,
        note="Several values: stages were computed in different ways. On CPU, equal fingerprints give equal bits.",
    )


def digests_table(study: Study) -> Table:
    """The key of every finished stage and the digests of what it left."""
    rows = []
    for key, record in study.stages.items():
        if record.state.status == "finished":
            weights, state = record.result.weights_sha256, record.result.state_digest
            rows.append(
                [
                    text(record.state.kind),
                    text(key[:16], code=True),
                    text(weights[:16] if weights else "–", code=True),
                    text(state[:16] if state else "–", code=True),
                    text(record.result.run_id, code=True),
                ]
            )
    return Table(
        caption="Finished stages",
        head=["stage", "key", "SHA-256 of weights", "SHA-256 of state", "MLflow run"],
        rows=rows,
        row_heads=2,
        note="First 16 digits. `lstcl-platform export KEY` writes the weights of a key.",
    )


def machine_readable(study: Study) -> str:
    """The cells and metrics as JSON, for programs that read the report."""
    from lstcl_platform.results.tables import comparison_records

    return json.dumps(
        {"experiment": study.name, "cells": comparison_records(study.comparison)}, ensure_ascii=False
    )
