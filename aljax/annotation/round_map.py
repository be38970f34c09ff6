"""A map of a round as an HTML page: the outlines of all tiles by state, in a single file that loads nothing."""

import base64
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from aljax.annotation.labelling import Assignment, Labelling
from aljax.data.labels import PART_NAMES
from aljax.data.space.distances import Footprints, sphere_radius, to_degrees
from aljax.system.files import write_atomically

# In the order in which they are drawn, with their colours, which people with any colour vision can tell apart.
STATES = {
    "the rest": "#8d8d8d",
    "left out, beside test tiles": "#4d4d4d",
    "skipped": "#a65d2e",
    "labelled": "#3f8fd2",
    "validation": "#b58ae0",
    "test": "#e0559b",
    "test, to label": "#ff9ecb",
    "to label": "#ffd92f",
}
# Coordinates are whole numbers of a unit: so many make the radius of a median tile, unless they would be too large.
STEPS, LARGEST = 256, 2**30


def map_page(path: Path, labelling: Labelling, assignment: Assignment) -> None:
    """Writes the page, unless no tile has a place."""
    archive, states = labelling.archive, states_of(labelling, assignment)
    if archive.footprints is None:
        return
    rows = np.flatnonzero(archive.footprints.of >= 0)
    rows = rows[np.argsort(states[rows], kind="stable")]
    middle, radius, corners = on_plane(archive.footprints)
    unit = max(float(np.median(archive.footprints.radii)) / STEPS, float(np.abs(corners).max()) / LARGEST, 1e-3)
    content = {
        "title": f"{archive.name}, {path.parent.name}: {len(assignment.rows)} tiles to label",
        "states": [
            {"name": name, "colour": colour, "asked": name.endswith("to label")} for name, colour in STATES.items()
        ],
        "ids": [archive.ids[row] for row in rows.tolist()],
        "without": len(archive.ids) - len(rows),
        "state": _encoded(states[rows]),
        "corners": _encoded(np.rint(corners[archive.footprints.of[rows]] / unit).astype("<i4")),
        "unit": unit,
        "middle": middle.tolist(),
        "radius": radius,
    }
    # Escaped, so that no name of a tile can close the script element around the JSON.
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    template = files("aljax.annotation").joinpath("round_map.html").read_text(encoding="utf-8")
    write_atomically(path, template.replace("ROUND", text, 1))


def states_of(labelling: Labelling, assignment: Assignment) -> UInt8[np.ndarray, " n"]:
    """The index into STATES of each tile (n,)."""
    archive, split, number = labelling.archive, labelling.split, {name: index for index, name in enumerate(STATES)}
    states = np.full(len(archive.ids), number["the rest"], np.uint8)
    left_out = split.pool[labelling.skipped]
    states[left_out] = number["left out, beside test tiles"]
    if archive.labelled is not None and archive.split is not None:
        in_parts = np.concatenate(archive.split)
        states[np.setdiff1d(left_out[archive.labelled[left_out]], in_parts)] = number["skipped"]
    states[split.pool[labelling.labelled]] = number["labelled"]
    states[split.validation] = number["validation"]
    states[split.test] = number["test"]
    is_test = assignment.parts == PART_NAMES.index("test")
    states[assignment.rows] = np.where(is_test, number["test, to label"], number["to label"])
    return states


def on_plane(footprints: Footprints) -> tuple[Float[np.ndarray, "2"], float, Float[np.ndarray, "u 4 2"]]:
    """The middle of all tiles (longitude, latitude), the radius of the sphere there, and the corners around it.

    These are metres east and north in the azimuthal equidistant projection, which is right near its middle wherever
    that is, at a pole or at 180 degrees.
    """
    middle = to_degrees(footprints.corners.mean((0, 1)))
    radius = sphere_radius(float(middle[1]))
    longitude, latitude = np.moveaxis(np.radians(to_degrees(footprints.corners)), -1, 0)
    from_middle, latitude_0 = longitude - np.radians(middle[0]), np.radians(middle[1])
    east = np.cos(latitude) * np.sin(from_middle)
    north = np.cos(latitude_0) * np.sin(latitude) - np.sin(latitude_0) * np.cos(latitude) * np.cos(from_middle)
    up = np.sin(latitude_0) * np.sin(latitude) + np.cos(latitude_0) * np.cos(latitude) * np.cos(from_middle)
    sine = np.hypot(east, north)
    scale = radius * np.arctan2(sine, up) / np.where(sine > 0.0, sine, 1.0)
    return middle, radius, np.stack([scale * east, scale * north], -1)


def _encoded(values: Shaped[np.ndarray, "..."]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
