"""What a person writes: YAML -> frozen, checked objects -> trials -> stages with keys."""

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.specs.graph import build_graph
from lstcl_platform.specs.loading import LoadedExperiment, load_experiment, load_requested, parse_experiment
from lstcl_platform.specs.stages import Stage, StageGraph, Trial
from lstcl_platform.specs.sweep import Excluded, Expansion, expand

__all__ = [
    "Excluded",
    "Expansion",
    "ExperimentSpec",
    "LoadedExperiment",
    "Stage",
    "StageGraph",
    "Trial",
    "TrialSpec",
    "UserError",
    "build_graph",
    "expand",
    "load_experiment",
    "load_requested",
    "parse_experiment",
]
