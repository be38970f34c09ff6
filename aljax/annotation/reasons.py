"""The cells of a form that say why a tile was chosen, and the file that keeps them until the form is made."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from aljax.data.label_rows import REASON_COLUMNS
from aljax.data.labels import read_form, to_text
from aljax.loop.reasons import Reason
from aljax.queries.diversity import Covering
from aljax.system.files import disk_errors, write_atomically

FILE = "reasons.csv"
BLANK = ("",) * len(REASON_COLUMNS)

Cells = tuple[str, ...]
"""One for each of `REASON_COLUMNS`, blank where there is nothing."""


def reason_cells(reason: Reason, class_names: Sequence[str], nearest: str) -> Cells:
    """The cells of a reason; `nearest` is the id of the nearest labelled tile."""
    # A number comes first: a spreadsheet would take a class that begins with a minus for a formula.
    doubts = ", ".join(f"{probability:.2f} {class_names[index]}" for index, probability in reason.in_doubt)
    score, distance = ("" if value is None else f"{value:.4g}" for value in (reason.score, reason.distance))
    rank, cluster, size, group = ("" if value is None else str(value) for value in (*reason[1:4], reason.group))
    return score, rank, cluster, size, nearest, distance, doubts, group


def covering_cells(covering: Covering, tests: int, groups: Sequence[int]) -> list[Cells]:
    """The cells of the first tiles: `tests` random ones, then those that cover the features, all of them in groups."""
    reasons = [Reason()] * len(groups)
    if covering.clusters is not None and covering.sizes is not None:
        clusters = zip(covering.clusters.tolist(), covering.sizes.tolist(), strict=True)
        reasons[tests:] = [Reason(cluster=cluster, cluster_size=size) for cluster, size in clusters]
    return [reason_cells(one._replace(group=group), (), "") for one, group in zip(reasons, groups, strict=True)]


def save_reasons(
    folder: Path,
    pool_ids: Callable[[Int[np.ndarray, " b"]], tuple[str, ...]],
    class_names: Sequence[str],
    chosen: Int[np.ndarray, " b"],
    reasons: Sequence[Reason],
) -> None:
    """Writes the reasons of the tiles that a round chose, by their rows in the pool."""
    rows = []
    for tile, reason in zip(pool_ids(chosen), reasons, strict=True):
        nearest = "" if reason.nearest is None else pool_ids(np.array([reason.nearest]))[0]
        rows.append((tile, *reason_cells(reason, class_names, nearest)))
    with disk_errors(folder):
        write_atomically(folder / FILE, to_text(("id", *REASON_COLUMNS), rows))


def read_reasons(folder: Path, tiles: Sequence[str]) -> list[Cells]:
    """The cells of the tiles that a round chose; blank in a round that an older version trained."""
    path = folder / FILE
    if not path.exists():
        return [BLANK] * len(tiles)
    kept = {tile: tuple(cells) for tile, *cells in read_form(path)[1]}
    return [kept.get(tile, BLANK) for tile in tiles]
