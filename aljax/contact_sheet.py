"""Looking at an archive: tiles with their ids and labels on one sheet, and how often each class occurs."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from aljax.data.archive import Archive
from aljax.errors import one_line

COLUMNS = 6
TILE_INCHES = 2.0
CHARACTERS_PER_LINE = 28


def contact_sheet(path: Path, archive: Archive, indices: Int[np.ndarray, " n"], bands: Sequence[int]) -> None:
    """Writes a PNG of the tiles `indices`, the given bands as red, green and blue (one band: grey)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(indices))
    rows = -(-len(indices) // columns)
    figure = Figure(figsize=(TILE_INCHES * columns + 0.4, (TILE_INCHES + 0.55) * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    pictures = stretch(np.stack([archive.images[int(index)][..., list(bands)] for index in indices]))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
    for place, index, picture in zip(axes, indices, pictures, strict=False):
        place.imshow(picture.squeeze(-1) if len(bands) == 1 else picture, cmap="gray", vmin=0, vmax=1)
        place.set_title(_caption(archive, int(index)), fontsize=6.5, parse_math=False)
    shown = ", ".join(str(band + 1) for band in bands)
    figure.suptitle(f"{archive.name}: {len(indices)} of {len(archive.ids)} tiles, bands {shown}", parse_math=False)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, format="png", dpi=150)
    temporary.replace(path)


def stretch(pictures: Shaped[np.ndarray, "n h w k"]) -> Shaped[np.ndarray, "n h w k"]:
    """Each band to 0..1 between its 1st and 99th percentile over all pictures."""
    low, high = np.percentile(pictures, [1, 99], axis=(0, 1, 2))
    return np.clip((pictures - low) / np.maximum(high - low, 1e-6), 0.0, 1.0)


def _caption(archive: Archive, index: int) -> str:
    if archive.labelled is not None and not archive.labelled[index]:
        names = "not labelled"
    else:
        present = [name for name, value in zip(archive.class_names, archive.labels[index], strict=True) if value]
        names = ", ".join(present) or "no class"
    tile = textwrap.shorten(one_line(archive.ids[index]), 2 * CHARACTERS_PER_LINE, placeholder="...")
    lines = [*textwrap.wrap(tile, CHARACTERS_PER_LINE), *textwrap.wrap(names, CHARACTERS_PER_LINE)]
    return "\n".join(lines[:5])


def class_table(archive: Archive) -> str:
    """Tiles of each class, in each part of the split where there is one, most frequent class first, as text."""
    parts = {"tiles": np.arange(len(archive.ids))} | (archive.split._asdict() if archive.split else {})
    counts = np.array([archive.labels[indices].sum(0, dtype=np.int64) for indices in parts.values()])
    width = max(len("labels per tile"), *(len(name) for name in archive.class_names), 0)
    lines = [f"{'':<{width}}" + "".join(f"{name:>12}" for name in parts)]
    for index in np.argsort(-counts[0], kind="stable"):
        name = one_line(archive.class_names[index])
        lines.append(f"{name:<{width}}" + "".join(f"{count:>12}" for count in counts[:, index]))
    lines.append(f"{'tiles':<{width}}" + "".join(f"{len(indices):>12}" for indices in parts.values()))
    means = [archive.labels[indices].sum() / max(len(indices), 1) for indices in parts.values()]
    lines.append(f"{'labels per tile':<{width}}" + "".join(f"{mean:>12.2f}" for mean in means))
    return "\n".join(lines)
