"""Contact sheets (tiles with their ids and labels in one picture) and a table of how often each class occurs."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Shaped

from aljax.arrays import UNKNOWN
from aljax.data.archive import Archive
from aljax.data.archives import treesatai
from aljax.errors import InputError, printable
from aljax.reports.curves import new_figure, save_figure

COLUMNS = 6
TILE_INCHES = 2.0
CHARACTERS_PER_LINE = 28
LINES_FOR_LABELS = 3
TITLE_CHARACTERS = 22  # per column
FALSE_COLOUR = ("IR", "R", "G")  # of TreeSatAI's bands


def contact_sheet(path: Path, archive: Archive, indices: Int[np.ndarray, " n"], bands: Sequence[int]) -> None:
    """Writes a PNG of the tiles `indices`, the given bands as red, green and blue (one band: grey)."""
    columns = min(COLUMNS, len(indices))
    rows = -(-len(indices) // columns)
    figure = new_figure(TILE_INCHES * columns + 0.4, (TILE_INCHES + 0.55) * rows + 0.6)
    pictures, labelled = show(archive, indices, bands), _has_labels(archive)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
    for place, index, picture in zip(axes, indices, pictures, strict=False):
        place.imshow(picture.squeeze(-1) if len(bands) == 1 else picture, cmap="gray", vmin=0, vmax=1)
        place.set_title(_caption(archive, int(index), bool(labelled[index])), fontsize=6.5)
    shown = ", ".join(str(band + 1) for band in bands)
    noun = "band" if len(bands) == 1 else "bands"
    title = f"{printable(archive.name)}: {len(indices)} of {len(archive.ids)} tiles, {noun} {shown}"
    figure.suptitle(textwrap.fill(title, TITLE_CHARACTERS * columns), fontsize=9)
    save_figure(figure, path)


def parse_bands(text: str, archive: Archive) -> tuple[int, ...]:
    """Indices of the one or three bands that a setting names, such as 4,1,2; by default those that suit the archive.

    Raises InputError.
    """
    count = archive.images.shape[-1]
    if not text:
        if archive.class_names == treesatai.GENERA and count == treesatai.FORM.bands:
            return tuple(map(treesatai.BANDS.index, FALSE_COLOUR))
        return (0, 1, 2) if count >= 3 else (0,)
    try:
        bands = tuple(int(band) - 1 for band in text.split(","))
    except ValueError as error:
        raise InputError(f"--bands is {text!r}: give numbers between commas, such as 4,1,2") from error
    if len(bands) not in (1, 3) or not all(0 <= band < count for band in bands):
        raise InputError(f"--bands is {text!r}: give one or three numbers from 1 to {count}")
    return bands


def show(archive: Archive, indices: Int[np.ndarray, " n"], bands: Sequence[int]) -> Shaped[np.ndarray, "n h w k"]:
    """The given bands of the tiles `indices`, each stretched to 0..1 over all of these tiles."""
    return stretch(np.stack([archive.images[int(index)][..., list(bands)] for index in indices]))


def stretch(pictures: Shaped[np.ndarray, "n h w k"]) -> Shaped[np.ndarray, "n h w k"]:
    """Stretches each band to 0..1 between its 1st and 99th percentile over all pictures, in float32."""
    # At most some 64 to 127 rows of each picture: enough for the percentiles.
    sample = pictures[:, :: max(pictures.shape[1] // 64, 1)]
    low, high = np.percentile(sample, [1, 99], axis=(0, 1, 2)).astype(np.float32)
    return np.clip((pictures.astype(np.float32) - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)


def _caption(archive: Archive, index: int, labelled: bool) -> str:
    if not labelled:
        names = "not labelled"
    else:
        cells = zip(archive.class_names, archive.labels[index].tolist(), strict=True)
        present = [f"{name}?" if value == UNKNOWN else name for name, value in cells if value]
        names = printable(", ".join(present)) or "no class"
    tile = printable(archive.ids[index])
    if len(tile) > 2 * CHARACTERS_PER_LINE:
        tile = f"...{tile[3 - 2 * CHARACTERS_PER_LINE :]}"  # the ends of long ids differ, not their beginnings
    wrapped = textwrap.wrap(names, CHARACTERS_PER_LINE, max_lines=LINES_FOR_LABELS, placeholder=" ...")
    half = len(tile) if len(tile) <= CHARACTERS_PER_LINE else -(-len(tile) // 2)
    return "\n".join([*textwrap.wrap(tile, half), *wrapped])


def _has_labels(archive: Archive) -> Bool[np.ndarray, " n"]:
    known = np.ones(len(archive.ids), bool) if archive.labelled is None else archive.labelled
    if archive.split is None:
        return known
    # Skipped tiles are in no part of the split; their labels are placeholders.
    return known & np.isin(np.arange(len(known)), np.concatenate(archive.split))


def class_table(archive: Archive) -> str:
    """Number of tiles of each class, in all and in each part of the split, as text; most frequent class first."""
    parts = {"tiles": np.arange(len(archive.ids))} | (archive.split._asdict() if archive.split else {})
    counts = np.array([(archive.labels[indices] == 1).sum(0) for indices in parts.values()])
    names = [printable(name) for name in archive.class_names]
    width = max(map(len, ["labels per labelled tile", *names]))
    known = _has_labels(archive)
    labelled = [int(known[indices].sum()) for indices in parts.values()]
    rows: list[tuple[str, Iterable[object]]] = [
        ("", parts),
        *((names[index], counts[:, index]) for index in np.argsort(-counts[0], kind="stable")),
        ("tiles", map(len, parts.values())),
        ("labelled tiles", labelled),
        ("labels per labelled tile", (f"{mean:.2f}" for mean in counts.sum(1) / np.maximum(labelled, 1))),
    ]
    return "\n".join(f"{name:<{width}}" + "".join(f"{cell!s:>12}" for cell in cells) for name, cells in rows)
