"""The documentation is true: the site builds without a warning, and every command in it is one that works."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from mkdocs.commands.build import build
from mkdocs.config import load_config
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.specs import expand, load_experiment
from tests.helpers.trained import make_trained_study
from tests.helpers.videos import make_video

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "cluster/README.md",
        *ROOT.glob("docs/*.md"),
    )
    if path.is_file()
)
SHELL = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
REFUSED = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""What typer raises for words that it does not understand; click's, or its own copy of it."""
RUN_HERE = {"plan", "schema", "status", "compare", "predict", "export", "data index", "data show"}
"""Commands that end in seconds: those of them in the pages on use are run, on a study and videos made for it."""
RUN_PAGES = ("README.md", "own_videos.md", "use.md", "experiment.md")


def calls(document: Path) -> list[list[str]]:
    """Words of every `lstcl-platform` command in the shell blocks of a document, without what it is piped into."""
    found = []
    for block in SHELL.findall(document.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||;|\s\|\s", line.split(" #")[0]):
                words = shlex.split(part.split(" > ")[0], comments=True)
                while words and re.match(r"^[A-Z_]+=", words[0]):
                    words = words[1:]
                if words[:1] == ["lstcl-platform"]:
                    found.append(words[1:])
    return found


def parsed(words: list[str]) -> str:
    """Name of the command that the command line would run; raises REFUSED where it would refuse the words."""
    command = get_command(app)
    with command.context_class(command, info_name="lstcl-platform") as context:
        rest, name = list(words), ""
        while isinstance(command, TyperGroup):
            while rest and rest[0].startswith("-"):
                rest = rest[1:]
            if not rest:
                return name.strip()
            _, command, rest = command.resolve_command(context, rest)
            name += f" {command.name}"
        command.make_context(name.strip(), rest, parent=context)
    return name.strip()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_understood(document):
    for words in calls(document):
        try:
            parsed(words)
        except REFUSED as error:
            pytest.fail(f"{document.name}: lstcl-platform {shlex.join(words)}: {error.format_message()}")


def test_a_wrong_command_would_be_found():
    with pytest.raises(REFUSED):
        parsed(["plan", "a.yaml", "--form", "json"])
    with pytest.raises(REFUSED):
        parsed(["export"])
    assert sum(len(calls(document)) for document in DOCUMENTS) > 50


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as a reader of the pages has it: videos, the studies of the pages, and a trained one."""
    folder = tmp_path_factory.mktemp("reader")
    for split in ("train", "val"):
        for number, label in enumerate(("jump", "run")):
            make_video(folder / "videos" / split / label / f"0{number}.mp4", frames=40, side=48, seed=number)
    (folder / "videos" / "val.csv").write_text("path,label\nval/jump/00.mp4,jump\nval/run/01.mp4,run\n")
    shutil.copy(folder / "videos/val/jump/00.mp4", folder / "clip.mp4")
    shutil.copytree(ROOT / "experiments", folder / "experiments", ignore=shutil.ignore_patterns("data"))
    for document in (ROOT / "README.md", ROOT / "docs/experiment.md"):
        for text in YAML.findall(document.read_text()):
            name = re.search(r"^name: (\w+)", text, re.MULTILINE)
            assert name, f"{document}: a study without a name"
            (folder / f"{name[1]}.yaml").write_text(text)
    (folder / "lstcl_runs").mkdir()
    make_trained_study(folder / "lstcl_runs", name="my_study")
    return folder


def test_the_study_of_the_page_has_the_cells_that_it_says(place):
    assert len(expand(load_experiment(place / "strides.yaml")).trials) == 10


@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_that_end_in_seconds_run(page, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    document = ROOT / page if page == "README.md" else ROOT / "docs" / page
    ran = []
    for words in calls(document):
        name = parsed(words)
        if name == "launch":
            words = [*words, "--dry-run"]
        elif name not in RUN_HERE:
            continue
        done = CliRunner().invoke(app, words)
        said = f"{page}: lstcl-platform {shlex.join(words)}: {done.output[-2000:]} {done.exception!r}"
        assert done.exit_code == 0, said
        ran.append(name)
    assert len(ran) >= 3


def test_the_site_builds_without_a_warning(tmp_path):
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)
    commands = (tmp_path / "site" / "commands.html").read_text()
    fields = (tmp_path / "site" / "fields.html").read_text()
    assert 'id="predict"' in commands
    assert "--neighbours" in commands
    assert "pretrain.clips.long_stride" in fields
    assert "tau_L" in fields
    links = re.findall(r'(?:src|href)="(https?://[^"]+)"', (tmp_path / "site" / "index.html").read_text())
    assert not [link for link in links if "squidfunk" not in link], "pages fetch nothing from elsewhere"
