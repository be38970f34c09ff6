"""Plays a whole project by the commands themselves: two people label an archive, in pages, Label Studio and CVAT.

    python -m tools.play_project --out runs/played
    python -m tools.play_project --out runs/played --ucmerced-dir data --features FILE --tiles 2100 --label-studio

Tiles of generated scenes or of UC Merced are written side by side as GeoTIFF. Ana and Ben answer by the true labels,
but slip, are not sure, and skip tiles, each by a draw of their own. The last class comes in the last round. What the
commands make of the answers is checked against what both said and against the truth; the end is the table of agreement,
the map and the curve. Without --label-studio the exported tasks are answered in the form of its exports.
"""

import csv
import sys
from itertools import chain
from pathlib import Path

import numpy as np

from aljax.annotation.annotators import form_name, read_dealt
from aljax.annotation.labelling import round_dir
from aljax.commands.options import read_options
from aljax.commands.process import command
from tools.played_archive import APART, Settings, aljax, open_archive
from tools.played_people import NAMES, add_class, answer_cvat, answer_form, answer_tasks, label_on_server


def require(holds: bool, what: str) -> None:
    """Ends the script where something is not as it must be."""
    if not holds:
        sys.exit(f"not as it must be: {what}")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Project:
    """The rounds of a project."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.people, self.places = open_archive(settings)
        self.last_class = self.people.classes.pop()
        self.run_dir, self.number = settings.out / "run", 0

    @property
    def folder(self) -> Path:
        return round_dir(self.run_dir, self.number)

    def annotate(self, *more: object) -> None:
        """Makes the next round, and checks what is known of it."""
        settings, disputed = self.settings, self.people.disputed() - self.came_back()
        files = ["--images", settings.out / "tiles", "--features", settings.out / "features.npz"]
        sizes = ["--initial", settings.initial, "--test", settings.test, "--budget", settings.budget]
        people = ["--annotators", ",".join(NAMES), "--overlap", 0.3, "--disputed-first"]
        space = ["--test-blocks", APART, "--min-distance", APART]
        where = ["--run-dir", self.run_dir, "--classes", ",".join(self.people.classes), "--seed", settings.seed]
        aljax("annotate", *files, *where, *sizes, *people, *space, *more)
        self.number += 1
        self.check_labels()
        if "--finish" not in more:
            self.check_round(disputed)

    @property
    def last_map(self) -> Path:
        return round_dir(self.run_dir, self.number - 1) / "round.html"

    def dealt(self) -> list[set[str]]:
        """The tiles of each round so far."""
        folders = [round_dir(self.run_dir, number) for number in range(1, self.number + 1)]
        return [{tile for tiles in read_dealt(folder).values() for tile in tiles} for folder in folders]

    def came_back(self) -> set[str]:
        """The tiles that were in several rounds."""
        rounds = self.dealt()
        return {tile for tiles in rounds for tile in tiles if sum(tile in others for others in rounds) > 1}

    def check_round(self, disputed: set[str]) -> None:
        """Disputed tiles come first and to both; others are new, have reasons, and are apart from each other."""
        forms = {name: read(self.folder / form_name(name)) for name in NAMES}
        for name, rows in forms.items():
            first = {row["id"] for row in rows[: len(disputed)]}
            require(first == disputed, f"{name}'s form begins with the tiles on which people differed")
        tiles = {row["id"]: row for rows in forms.values() for row in rows if row["id"] not in disputed}
        require(tiles.keys().isdisjoint({*chain(*self.dealt()[:-1])}), "a tile comes back only where people differed")
        pool = [tile for tile, row in tiles.items() if row["split"] == "pool"]
        require(self.number == 1 or all(tiles[tile]["why: score"] for tile in pool), "chosen tiles have a reason")
        require(self.apart(pool, pool), f"tiles of a batch are {APART:.0f} m apart")
        print(f"   checked: round {self.number} has {len(disputed)} disputed tiles first and {len(tiles)} new ones")

    def apart(self, ones: list[str], others: list[str]) -> bool:
        """Whether no tile is beside another one."""
        a, b = (np.array([self.places[tile] for tile in tiles]).reshape(-1, 2) for tiles in (ones, others))
        steps = np.abs(a[:, None] - b).max(-1)
        return bool(((steps == 0) | (steps > 1)).all())

    def check_labels(self) -> None:
        """What labels.csv says is what the people said: what both know, if they agree."""
        path = self.run_dir / "labels.csv"
        rows = {row["id"]: row for row in read(path)} if path.exists() else {}
        require(rows.keys() == {tile for _, tile in self.people.said}, f"{path} has the tiles that were answered")
        both = right = 0
        for tile, row in rows.items():
            for name in self.people.classes:
                found = self.people.known(tile, name)
                cell = found[0] if len({*found}) == 1 else ""
                require(row.get(name, "") == cell, f"{path} has {cell!r} for {name} on {tile}")
                both += len(found) > 1 and cell != ""
                right += len(found) > 1 and cell == str(self.people.truth[tile][name])
        parts = [[tile for tile, row in rows.items() if row["split"] == part] for part in ("pool", "test")]
        require(self.apart(*parts), f"no tile to learn from is within {APART:.0f} m of a test tile")
        if both:
            print(f"   checked: labels.csv, {len(rows)} tiles; where both know and agree {right / both:.2%} is true")
            require(right > 0.98 * both, "where people agree they are right")

    def by_hand(self) -> None:
        """Both fill in their forms, as the page does."""
        for name in NAMES:
            answer_form(self.people, name, self.folder / form_name(name), self.number)

    def by_label_studio(self) -> None:
        """The round goes to Label Studio, and comes back as JSON."""
        folder = self.settings.out / "label-studio"
        folder.mkdir()
        where = ["--run-dir", self.run_dir]
        aljax("exchange", "export", *where, "--to", "label-studio", "--predictions", "--out", folder / "tasks.json")
        answer = label_on_server if self.settings.label_studio else answer_tasks
        users = answer(self.people, folder, read_dealt(self.folder), self.number)
        known = ",".join(f"{name}={user}" for name, user in users.items())
        answers = ["--annotator", known, folder / "answers.json"]
        aljax("exchange", "import", *where, "--from", "label-studio", *answers)

    def by_cvat(self) -> None:
        """The tiles of each go to CVAT with what the network predicts, and come back as CVAT for images 1.1."""
        for name in NAMES:
            path = self.settings.out / f"cvat-{name}" / "annotations.xml"
            path.parent.mkdir()
            who = ["--run-dir", self.run_dir, "--annotator", name]
            aljax("exchange", "export", *who, "--to", "cvat", "--predictions", "--out", path)
            answer_cvat(self.people, name, path, self.run_dir, self.number)
            aljax("exchange", "import", *who, "--from", "cvat", path)

    def play(self) -> None:
        """All rounds: on pages, in Label Studio, in CVAT, and on pages with one more class."""
        for answer in (self.by_hand, self.by_label_studio, self.by_cvat):
            self.annotate()
            answer()
        self.people.classes.append(self.last_class)
        print(f"\n   one more class: {self.last_class}; the test tiles of the first round are asked for it, too")
        self.annotate()
        self.by_hand()
        for name in NAMES:
            add_class(self.people, name, round_dir(self.run_dir, 1) / form_name(name), 1)
        self.annotate("--finish")

    def report(self) -> None:
        """Prints the table of agreement, and where map and curve are."""
        print(f"\n{(self.run_dir / 'agreement.csv').read_text()}")
        for path in (self.run_dir / "agreement.csv", self.last_map, self.run_dir / "curve.png"):
            require(path.stat().st_size > 0, f"{path} is there")
            print(path)


def main() -> None:
    """Parses the command line and plays."""
    project = Project(read_options(Settings, "python -m tools.play_project", __doc__))
    project.play()
    project.report()


if __name__ == "__main__":
    command(main)
