"""Lists of videos for the studies in `experiments/evidence/`. Run by hand, once; writes CSVs and prints their sizes.

    python benchmarks/evidence_folds.py --yoga VIDEOS/yoga --tennis VIDEOS/tennis

What it expects, and what `docs/evidence.md` reports on:

- yoga: one folder a pose, files named `<person>_<anything>.mp4` (`s01_VID20250127135303.mp4`). All videos are dealt
  into five folds by person: nobody is both in the training and in the test videos of a fold.
- tennis: one folder a stroke, and `train.csv` and `val.csv` (`path,label`) with the split that the set came with.

Either may be left out. Copies made by `lstcl-platform data prepare` keep the layout.
"""

import argparse
import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

FOLDS = 5
OUTPUT = Path(__file__).parents[1] / "experiments" / "data" / "evidence"

Video = tuple[Path, str]
"""File and class."""


def person_of(file: Path) -> str:
    """Who is in a video of the yoga set, by its name."""
    return file.name.partition("_")[0]


def deal_persons(videos: Sequence[Video], folds: int = FOLDS) -> list[set[str]]:
    """Persons of each fold: equally many, as equal numbers of videos as that leaves, the rarest class in every fold."""
    _, rarest = min((count, name) for name, count in Counter(name for _, name in videos).items())
    total = Counter(person_of(file) for file, _ in videos)
    rare = Counter(person_of(file) for file, name in videos if name == rarest)
    dealt: list[set[str]] = [set() for _ in range(folds)]
    for person in sorted(total, key=lambda person: (-rare[person], -total[person], person)):
        sizes = [(len(fold), sum(total[one] for one in fold)) for fold in dealt]
        dealt[sizes.index(min(sizes))].add(person)
    return dealt


def write_list(target: Path, videos: Iterable[Video]) -> None:
    """A `path,label` CSV with paths relative to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = [(Path(os.path.relpath(file, target.parent)).as_posix(), name) for file, name in videos]
    with target.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("path", "label"), *rows])
    print(f"{target}: {len(rows)} videos")


def write_yoga(folder: Path, output: Path) -> None:
    """Five pairs of lists, `yoga/fold0/train.csv` and `val.csv` to `fold4`."""
    videos = [(file, file.parent.name) for file in sorted(folder.resolve().glob("*/*.mp4"))]
    if not videos:
        raise SystemExit(f"{folder}: no *.mp4 in folders below it")
    for number, persons in enumerate(deal_persons(videos)):
        print(f"fold {number}: tested on {', '.join(sorted(persons))}")
        for split, tested in (("train", False), ("val", True)):
            chosen = [video for video in videos if (person_of(video[0]) in persons) is tested]
            write_list(output / "yoga" / f"fold{number}" / f"{split}.csv", chosen)


def write_tennis(folder: Path, output: Path) -> None:
    """The lists of the set as it came, with classes by name: `tennis/train.csv` and `val.csv`."""
    for split in ("train", "val"):
        with (folder / f"{split}.csv").open(newline="", encoding="utf-8-sig") as stream:
            files = [folder.resolve() / row[0] for row in csv.reader(stream) if row and row[0] != "path"]
        write_list(output / "tennis" / f"{split}.csv", [(file, file.parent.name) for file in files])


def main() -> None:
    """Write the lists of the sets that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--yoga", type=Path, help="folder of the yoga set")
    parser.add_argument("--tennis", type=Path, help="folder of the tennis set")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the lists go")
    given = parser.parse_args()
    if given.yoga is None and given.tennis is None:
        parser.error("name at least one of --yoga and --tennis")
    if given.yoga is not None:
        write_yoga(given.yoga, given.output)
    if given.tennis is not None:
        write_tennis(given.tennis, given.output)


if __name__ == "__main__":
    main()
