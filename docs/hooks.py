"""Pages that MkDocs makes from the code: the commands, the fields of an experiment, and other documents' text."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.main import get_command

from lstcl_platform.cli.main import app
from lstcl_platform.specs.json_schema import experiment_schema

ROOT = Path(__file__).parents[1]
CLUSTER_README = ROOT / "cluster" / "README.md"
PLACES = {"README.md": "index.md", "CONTRIBUTING.md": "extend.md", "cluster/README.md": "clusters.md"}
"""Documents beside the site -> the page that stands for them."""

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "commands.md": commands_page(),
        "fields.md": fields_page(),
        "clusters.md": CLUSTER_README.read_text(),
    }
    for name, text in pages.items():
        if (known := files.get_file_from_path(name)) is not None:
            files.remove(known)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave `docs/` at the page that stands for their target, or show the path alone."""

    def put(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if not target or (files.get_file_from_path(target) is not None):
            return match[0]
        origin = CLUSTER_README.parent if page.file.src_uri == "clusters.md" else Path(config.docs_dir)
        path = (origin / target).resolve()
        # Text of the README and of CONTRIBUTING counts from the repository's root.
        found = path if path.exists() else (ROOT / target).resolve()
        if not found.exists() or not found.is_relative_to(ROOT):
            return match[0]
        inside = found.relative_to(ROOT).as_posix()
        if inside in PLACES:
            return f"[{text}]({PLACES[inside]}{anchor if inside == 'cluster/README.md' else ''})"
        if inside.startswith("docs/"):
            return f"[{text}]({inside.removeprefix('docs/')}{anchor})"
        return text if text.strip("`") == inside else f"{text} (`{inside}`)"

    return _LINK.sub(put, markdown)


def commands_page() -> str:
    """The command reference."""
    lines = [
        "# Commands",
        "",
        "Made from the command line itself when this site is built. `lstcl-platform COMMAND --help` shows the same.",
        "",
        "Exit codes: 0 done, 1 a stage failed or a video could not be read, 2 the input is wrong, 130 interrupted.",
        "",
    ]
    group = get_command(app)
    everywhere = [_parameter(parameter) for parameter in group.params if parameter.name != "help"]
    lines += [
        "## For every command",
        "",
        "Before the command's name: `lstcl-platform --quiet plan SPEC`.",
        "",
    ]
    lines += ["| option | meaning |", "|---|---|", *everywhere, ""]
    for name, command in commands(group):
        context = command.context_class(command, info_name=f"lstcl-platform {name}")
        lines += [f"## {name}", "", *_paragraphs(command.help or ""), "", "```text"]
        lines += [command.get_usage(context).removeprefix("Usage: "), "```", ""]
        rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            lines += ["| argument or option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name as typed, command) of every command."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{word} ")
        else:
            yield f"{prefix}{word}", command


def fields_page() -> str:
    """Every field of an experiment, block by block."""
    schema = experiment_schema()
    lines = [
        "# Fields of an experiment",
        "",
        "Made from the schema when this site is built; `lstcl-platform schema` prints it for an editor. A field that "
        "is not written has the value under *default*, which is the paper's where the paper states one.",
        "",
        *_block("Top level", "", schema, schema["$defs"]),
    ]
    return "\n".join(lines)


def _block(title: str, path: str, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> list[str]:
    """Heading and table of a block, then those of the blocks inside it."""
    lines = [f"## {title}", "", _cell(schema.get("description", "")), ""]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    inner: list[str] = []
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        dotted = f"{path}{name}"
        default = "**required**" if name in required else _default(field, defs)
        lines.append(
            f"| `{dotted}` | {_type(field, defs)} | {default} | {_cell(field.get('description', ''))} |"
        )
        for kind, block in _blocks(field, defs):
            label = f"`{dotted}`" + (f", kind `{kind}`" if kind else "")
            inner += _block(label, f"{dotted}.", block, defs)
    return [*lines, "", *inner]


def _blocks(field: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The blocks that a field may hold, with the `kind` that chooses each where there are several."""
    found = [_resolved(option, defs) for option in _options(field)]
    found = [option for option in found if "properties" in option]
    for option in found:
        kind = option["properties"].get("kind", {})
        yield (kind.get("const", "") if len(found) > 1 else ""), option


def _options(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(field.get("anyOf") or field.get("oneOf") or [field])


def _resolved(field: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref")
    return field if reference is None else defs[reference.rpartition("/")[2]]


def _default(field: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if any(True for _ in _blocks(field, defs)) and field.get("default") is not None:
        return "see below"
    value = field.get("default")
    if value is None:
        return "null"
    return f"`{value}`" if value != "" else "empty"


def _type(field: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    names = []
    for raw in _options(field):
        option = _resolved(raw, defs)
        if "oneOf" in option or "anyOf" in option:
            names.append(_type(option, defs))
        elif "const" in option:
            names.append(f"`{option['const']}`")
        elif "enum" in option:
            names.append(", ".join(f"`{value}`" for value in option["enum"]))
        elif "properties" in option:
            names.append("block")
        elif option.get("type") == "array":
            names.append(
                "list" if "prefixItems" in option else f"list of {_type(option.get('items', {}), defs)}"
            )
        else:
            names.append(option.get("type", "any") + _range(option))
    return " or ".join(dict.fromkeys(names))


def _range(option: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    parts = [f"{sign} {option[name]}" for name, sign in signs.items() if name in option]
    return f" {', '.join(parts)}" if parts else ""


def _parameter(parameter: Any) -> str:
    """A row of a command's table."""
    is_option = parameter.param_type_name == "option"
    name = ", ".join([*parameter.opts, *parameter.secondary_opts]) if is_option else _metavar(parameter)
    value = f" {_metavar(parameter)}" if is_option and not parameter.is_flag else ""
    default = parameter.default
    shown = "" if default in (None, False, True, (), []) or not is_option else f" Default: `{default}`."
    envvar = f" Environment: `{parameter.envvar}`." if parameter.envvar else ""
    return f"| `{name}{value}` | {_cell(parameter.help or '')}{shown}{envvar} |"


def _metavar(parameter: Any) -> str:
    """What stands for the value of an argument or option."""
    choices = " or ".join(_choices(parameter.type_descriptor.annotation))
    return str(parameter.metavar or choices or parameter.name.upper()).replace("|", " or ")


def _choices(annotation: Any) -> list[str]:
    """Words that an option of this type takes; none where it takes any."""
    if isinstance(annotation, type):
        return [member.value for member in annotation] if issubclass(annotation, Enum) else []
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _choices(part)]


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) + "\n" for part in text.split("\n\n")]


def _cell(text: str) -> str:
    """`text` as one cell of a Markdown table; an unescaped < would begin HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
