"""Experiment files that are wrong by construction: mutations of the shipped ones, the same in every run."""

import codecs
import copy
import gzip
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))


@dataclass(frozen=True)
class Mutation:
    """A malformed file: what was done to which shipped experiment, and the bytes."""

    name: str
    content: bytes


def places(node: Any, here: Place = ()) -> Iterator[Place]:
    """Where each key and list item below `node` is."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*here, key)
        yield from places(value, (*here, key))


def value_at(values: Any, place: Place) -> Any:
    for part in place:
        values = values[part]
    return values


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def misspell(values: Any, place: Place, draw: random.Random) -> None:
    """A field's name with a letter doubled, lost or in another case."""
    parent, name = value_at(values, place[:-1]), str(place[-1])
    at = draw.randrange(len(name.rpartition(".")[2])) + len(name.rpartition(".")[0])
    wrong = draw.choice([name[:at] + "q" + name[at:], name.upper(), f"{name}.{name}", name + " ", ""])
    items = [(wrong if key == name else key, value) for key, value in parent.items()]
    parent.clear()
    parent.update(items)


def another_type(values: Any, place: Place, draw: random.Random) -> None:
    """A value that is of no type that any field takes in its place."""
    wrong: list[Any] = [{"of": "another kind"}, [[[]]], [{"a": [1]}]]
    if is_number(value_at(values, place)):
        wrong += ["twelve", True, "3", [1, "b"]]
    value_at(values, place[:-1])[place[-1]] = draw.choice(wrong)


def out_of_range(values: Any, place: Place, draw: random.Random) -> None:
    """A number that no field allows."""
    wrong = draw.choice([-1, -0.5, float("nan"), float("inf"), float("-inf"), -(10**30), -1e300])
    value_at(values, place[:-1])[place[-1]] = wrong


def misnested(values: Any, place: Place, draw: random.Random) -> None:
    """A block or value that is a level too deep, or stands where another block stands."""
    value = value_at(values, place)
    wrong = [{str(place[-1]): value}, [[value]], {"": value}, {"sweep": {"grid": {"sweep.grid": [value]}}}]
    value_at(values, place[:-1])[place[-1]] = draw.choice(wrong)


Change = Callable[[Any, Place, random.Random], None]
CHANGES: dict[Change, Callable[[Any, Place], bool]] = {
    misspell: lambda values, place: isinstance(place[-1], str),
    another_type: lambda values, place: not isinstance(value_at(values, place), dict | list),
    out_of_range: lambda values, place: is_number(value_at(values, place)),
    misnested: lambda values, place: True,
}
"""What is done to a value, and which values it is done to."""


def changed(count: int, *, seed: int = 0) -> Iterator[Mutation]:
    """`count` shipped experiments with one name, type, number or nesting that is wrong."""
    draw = random.Random(seed)
    shipped = {path.stem: yaml.safe_load(path.read_text()) for path in EXPERIMENTS}
    for number in range(count):
        stem = draw.choice(list(shipped))
        change, fits = list(CHANGES.items())[number % len(CHANGES)]
        values = copy.deepcopy(shipped[stem])
        place = draw.choice([place for place in places(values) if fits(values, place)])
        change(values, place, draw)
        where = ".".join(map(str, place))
        yield Mutation(f"{stem}: {change.__name__} {where}", yaml.safe_dump(values).encode())


def misencoded() -> Iterator[Mutation]:
    """The shipped experiments as bytes that are no text in UTF-8, or text that is no YAML."""
    for path in EXPERIMENTS[:3]:
        text, raw = path.read_text(), path.read_bytes()
        middle = len(raw) // 2
        wrong = {
            "utf-16": codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
            "utf-32": text.encode("utf-32"),
            "latin-1": text.replace("name:", "name: \N{LATIN SMALL LETTER E WITH ACUTE}", 1).encode(
                "latin-1"
            ),
            "gzip": gzip.compress(raw, mtime=0),
            "a null byte": raw[:middle] + b"\0" + raw[middle:],
            "half a character": raw + "\N{EURO SIGN}".encode()[:2],
            "a control character": raw + b"# \x1b[2J\n",
            "tabs": raw.replace(b"  ", b"\t"),
            "a lone surrogate": raw + b'\nnote: "\\ud800"\n',
            "a surrogate as the name": raw.replace(b"name: ", b'name: "\\udcff" #', 1),
            "a null in a path": raw.replace(b"  train: ", b'  train: "a\\0b" #', 1),
            "a bracket": raw[:middle] + b"\n[{" + raw[middle:],
            "another document": raw + b"\n---\n" + raw,
            "python": raw + b"\nnote: !!python/object/apply:os.getcwd []\n",
        }
        for name, content in wrong.items():
            yield Mutation(f"{path.stem}: {name}", content)


def oversized() -> Iterator[Mutation]:
    """Small files with huge meanings, and huge ones."""
    base = b"name: big\ndata: {train: a, val: b}\n"
    wide = ", ".join(map(str, range(1, 2000)))
    aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]\n" for n in range(1, 12)
    )
    axes = ["pretrain.seed", "finetune.seed", "pretrain.epochs", "finetune.epochs"]
    grid = "".join(f"    {axis}: [{wide}]\n" for axis in axes)
    case = ", ".join(f"{axis}: [{wide}]" for axis in axes)
    yield Mutation("empty", b"")
    yield Mutation("deep lists", base + b"note: " + 20_000 * b"[" + 20_000 * b"]")
    yield Mutation("lists of 300 levels", base + b"note: " + 300 * b"[" + 300 * b"]")
    yield Mutation("deep blocks", b"".join(b" " * n + b"a:\n" for n in range(3000)))
    yield Mutation("blocks of 200 levels", base + b"note: " + 200 * b"{a: " + b"1" + 200 * b"}")
    yield Mutation("aliases of aliases", base + aliases.encode())
    yield Mutation("a grid of 10^13 cells", base + b"sweep:\n  grid:\n" + grid.encode())
    yield Mutation("a case of 10^13 cells", base + f"sweep: {{cases: [{{name: x, {case}}}]}}\n".encode())
    wrong = "".join(f"    {axis}: {[-n for n in range(1, 99)]}\n" for axis in axes[2:])
    yield Mutation("a grid of 9604 wrong cells", base + b"sweep:\n  grid:\n" + wrong.encode())
    yield Mutation("a name of 10^6 letters", base.replace(b"big", 10**6 * b"b"))
    yield Mutation("a field of 10^6 letters", base + 10**6 * b"b" + b": 1\n")
    yield Mutation("a number of 10^5 digits", base + b"pretrain: {epochs: " + 10**5 * b"9" + b"}\n")
    yield Mutation("an exponent of 10^5 digits", base + b"pretrain: {epochs: 1e" + 10**5 * b"9" + b"}\n")
    yield Mutation("10^4 unknown fields", base + b"".join(b"f%d: 1\n" % n for n in range(10_000)))
    yield Mutation("4000 unknown fields", base + b"".join(b"f%d: 1\n" % n for n in range(4000)))
    yield Mutation("10^5 list items", base + b"pretrain: [" + 10**5 * b"1, " + b"]\n")
    yield Mutation("20 MB", base + b"# " + 20 * 10**6 * b"x" + b"\n" + base)


def mutations() -> list[Mutation]:
    """All 200 of them."""
    special = [*misencoded(), *oversized()]
    return [*changed(200 - len(special)), *special]
