"""JSON Schema of an experiment file, for completion and checks while typing."""

from typing import Any

from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.fields import field_paths


def experiment_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an experiment file; sweeps are completed with the dotted paths that exist."""
    schema = ExperimentSpec.model_json_schema()
    paths = list(field_paths())
    sweep = schema["$defs"]["SweepSpec"]["properties"]
    sweep["grid"]["propertyNames"] = {"enum": paths}
    sweep["cases"]["items"]["propertyNames"] = {"enum": ["name", *paths]}
    sweep["exclude"]["items"]["propertyNames"] = {"enum": paths}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "lstcl-platform experiment",
    }
