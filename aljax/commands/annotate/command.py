"""Annotation of your own archive: chooses the tiles to label next, round by round.

    aljax annotate --images DIR --classes trees,water,pavement --run-dir runs/mine
    aljax annotate --images DIR --features FILE --classes trees,water,pavement --run-dir runs/mine

The first call chooses random tiles, some for training and some for the test. Every round is a folder: open its
label.html in a browser, label its tiles with a few keys, and replace the empty to_label.csv by the one that the page
saves. (Or write 0 or 1 into its cells in a spreadsheet; --sheets draws its tiles on contact sheets. `aljax exchange`
gives them to Label Studio, CVAT or QGIS.) Then repeat the same command. It trains on all labels so far, measures F1 on
the test tiles, and chooses the next tiles by the query function. It does so again after each round, and goes on with
one that was stopped. With --finish, or when no tile is left, it trains on all labels and chooses no tiles.

A class that nobody is sure of is left open, by ? on the page or an empty cell in the row, and the tile's other classes
count. A tile that cannot be labelled gets the word skip in the column split of its row and never comes back; tiles that
cannot be read are listed in unreadable.csv and left out until they are repaired.

All labels so far are in labels.csv, and predictions of all other tiles in each round's predictions.csv (not with
--query random, which needs none; with --candidates, of those that were drawn; 0 and 1 with --threshold). Where tiles
have a georeference, round.html is a map of all of them, and to_label.geojson one of the round's for a GIS.

With --features, from a network that was trained elsewhere (`aljax embed` writes such a file), a head is fitted in a
second, the first tiles cover the features, and boundary is the query. Without, DenseNet121 is trained on the pixels.

Labels that you already have are given with --labels in place of --classes (CSV with id,CLASS,CLASS,... or id,labels; a
column split may say test or validation).

A later round may add classes, by --classes with one more name or by a column more in --labels. On older tiles they are
unknown, until their forms have such columns as well: without those of test tiles a class cannot be measured. In
curve.png the rounds from there on are a curve of their own.

With --annotators ana,ben each has a page and a form of their own in the round's folder, label-ana.html and
to_label-ana.csv. The tiles are dealt evenly, but for the share --overlap, which goes to all. The next round is made
when all have answered, or without the rest with --go-on; what comes later, or is corrected, joins then. labels.csv is
what the answers come to: where people differ, what --disagreement says. agreement.csv has Krippendorff's alpha of each
class and who differs from whom. With --disputed-first the tiles on which they differ come back once, to all, before new
ones.

Neighbours in a mosaic look alike, and scores on test tiles beside tiles to learn from are too good: --test-blocks
METRES draws the test tiles in blocks (a random tile and those around it) and never trains on a tile nearer to them, in
later rounds too. --min-distance METRES keeps the tiles of a batch apart. Both are distances on the ground between the
nearest points of two tiles, right at any latitude and over the borders of zones; neighbours are 0 m apart. A tile that
shares more than half of the ground of a test tile, of another year maybe, is not trained on either.

The last columns of to_label.csv say why a tile was chosen, and nothing is read from them: its score by the query, with
the rank among all tiles without labels; its cluster and the number of candidates in it; the nearest labelled tile and
the distance to it, of the embeddings that are clustered; the classes most in doubt with their probabilities; and the
group of tiles in this form that are alike. What a query does not have is blank, as all is for tiles drawn by chance.

After the training a line says what the last round has gained in percentage points, and the last three, with a 95 %
interval: how far other test tiles would agree. Another says what the tiles of the new form would likely bring: how far
the curve through the last rounds would rise, with an interval for the test tiles, the chance of each training and the
form of the curve. It is called unclear where it may be nothing as well as more than a point. Rounds on other tiles, or
with other test tiles, are not compared.
"""

from collections.abc import Mapping
from pathlib import Path

import jax

from aljax.annotation import round_files
from aljax.annotation.labelling import (
    Labelling,
)
from aljax.annotation.outlook import describe_gains
from aljax.arrays import UNKNOWN
from aljax.commands.annotate.next_round import newest_model, next_round
from aljax.commands.annotate.settings import AnnotationSettings
from aljax.commands.process import parse_settings, prepare_process
from aljax.data.labels import count_tiles
from aljax.errors import InputError
from aljax.loop.thresholds import check_threshold


def count_known(labelling: Labelling) -> int:
    """Number of test tiles of which something is known."""
    return int((labelling.archive.labels[labelling.split.test] != UNKNOWN).any(1).sum())


def print_left(folder: Path, left: Mapping[str, tuple[int, int]]) -> None:
    """Prints who has how many tiles left in a round of several."""
    people = ", ".join(f"{name} {count} of {total}" for name, (count, total) in left.items())
    print(
        f"tiles left to label in {folder}: {people}. Each opens label-NAME.html in a browser and saves "
        "to_label-NAME.csv; put it there, then repeat the command (--go-on: without what is not answered)"
    )


def print_request(form: Path) -> None:
    """Prints how to label the tiles of a form."""
    page, sheets = form.parent / round_files.PAGE, form.parent / "sheet-*.png"
    look = f"look at {sheets} and " if any(form.parent.glob(sheets.name)) else ""
    print(
        f"{count_tiles(form)} tiles to label: open {page} in a browser and save what it makes as {form}, or {look}"
        "write 0 or 1 into its cells in a spreadsheet; then repeat the command"
    )


def main() -> None:
    """Parses the command line, makes the next round and prints what to label."""
    settings = parse_settings(AnnotationSettings, "aljax annotate", __doc__)
    if settings.test < 1:
        raise InputError(f"--test is {settings.test}: it must be at least 1, or there is nothing to measure with")
    check_threshold(settings.threshold)
    prepare_process()
    if jax.process_count() > 1:
        raise InputError("annotation is made by one process, which uses all devices of its machine: start one")
    made = next_round(settings)
    print(*(f"{line}\n" for line in made.agreement), sep="", end="")
    if made.state is not None:
        assert made.scores is not None
        assert made.labelling is not None
        at = "" if settings.threshold is None else f", threshold {settings.threshold}"
        print(
            f"round {round_files.count_rounds(settings.run_dir) + (made.form is None)}: trained on "
            f"{made.state.history[-1].num_labeled} tiles; micro F1 {made.scores.micro_f1:.1%}, macro F1 "
            f"{made.scores.macro_f1:.1%} on {count_known(made.labelling)} test tiles{at} "
            f"({settings.run_dir / 'curve.png'})"
        )
        more = min(settings.budget, len(made.state.history[-1].selected))
        args = settings.run_dir, made.labelling, made.state.history, settings.seed, settings.threshold, more
        print(*(f"{line}\n" for line in describe_gains(*args)), sep="", end="")
    if made.form is not None:
        print_left(made.form.parent, made.left) if made.left else print_request(made.form)
        return
    model, labels = newest_model(settings.run_dir), settings.run_dir / round_files.LABELS
    if made.state is None:
        print(f"nothing was labelled since: {model} has the network that has learnt all labels")
    else:
        print(f"all labels: {labels}; the network, for `aljax predict --run-dir`: {model}")
