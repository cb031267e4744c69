"""Reading what a user describes beside an experiment: a cluster, rates. Checked as experiments are."""

from pathlib import Path
from typing import TypeVar

from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.problems import Problem, refuse
from lstcl_platform.specs.validation import broken_rules, validate_fields
from lstcl_platform.specs.yaml_source import YamlSource, read_yaml

S = TypeVar("S", bound=Spec)


def load_described(path: Path, model: type[S], *, kind: str) -> S:
    """Read a YAML (or JSON, which is YAML) file as a `model`.

    Args:
        path: the file.
        model: what it describes.
        kind: what messages call it.

    Raises:
        UserError: everything that is wrong with it, with file and line.
    """
    source = read_yaml(path, kind=kind)
    spec, problems = validate_fields(model, source.value)
    problems = [*source.problems, *problems, *(broken_rules(spec) if spec is not None else [])]
    if problems or spec is None:
        raise refuse(problems, title=source.name, where=lambda problem: _place(problem, source))
    return spec


def _place(problem: Problem, source: YamlSource) -> str:
    about = [line for path in problem.about if (line := source.line(path))]
    line = problem.line or source.line(problem.path) or next(iter(about), None)
    return f"{source.name}:{line}" if line else source.name
