"""The random plan of a synthetic forest tile, before it is drawn: species, stands and their arrangement.

Frequencies, neighbours and ages roughly follow the label file of TreeSatAI; colours and crowns are plausible, not
measured.
"""

from typing import NamedTuple

import numpy as np


class Species(NamedTuple):
    """A tree species, or cleared ground, which the archive lists among them."""

    name: str  # start of the file names; its first word is the genus
    share: int  # tiles with this name, of about 1,000
    crown: float  # diameter of a grown crown in metres
    pointed: bool  # a cone with star-shaped branches, otherwise a dome of smaller domes
    disorder: float  # largest offset of trees from a regular grid, in units of its spacing
    gaps: float  # spacing of the trees in units of their crowns: above 1 the ground is visible
    colour: tuple[int, int, int, int]  # IR, G, B, R of the sunlit crown

    @property
    def genus(self) -> str:
        return self.name.split("_")[0]


SPECIES = (
    Species("Pinus_sylvestris", 131, 4.8, False, 0.30, 0.83, (118, 84, 70, 78)),
    Species("Fagus_sylvatica", 128, 9.5, False, 0.42, 0.70, (184, 106, 64, 70)),
    Species("Picea_abies", 115, 4.2, True, 0.23, 0.79, (98, 68, 58, 54)),
    Species("Cleared", 82, 1.7, False, 1.30, 2.60, (150, 116, 78, 96)),
    Species("Quercus_robur", 69, 9.0, False, 0.40, 0.76, (166, 100, 64, 84)),
    Species("Acer_pseudoplatanus", 56, 7.4, False, 0.42, 0.70, (192, 122, 68, 88)),
    Species("Betula_spec.", 56, 5.2, False, 0.45, 0.84, (164, 116, 86, 96)),
    Species("Pseudotsuga_menziesii", 53, 6.0, True, 0.25, 0.77, (120, 80, 58, 60)),
    Species("Fraxinus_excelsior", 52, 7.4, False, 0.42, 0.79, (154, 112, 82, 82)),
    Species("Quercus_petraea", 52, 8.4, False, 0.40, 0.74, (170, 104, 62, 82)),
    Species("Alnus_spec.", 51, 5.0, False, 0.36, 0.76, (146, 86, 64, 62)),
    Species("Quercus_rubra", 37, 8.8, False, 0.36, 0.72, (178, 110, 60, 90)),
    Species("Larix_kaempferi", 35, 5.2, True, 0.27, 0.86, (140, 106, 66, 86)),
    Species("Larix_decidua", 27, 5.4, True, 0.29, 0.90, (136, 102, 66, 88)),
    Species("Abies_alba", 20, 5.2, True, 0.31, 0.81, (106, 74, 72, 54)),
    Species("Pinus_strobus", 10, 5.6, False, 0.30, 0.78, (128, 90, 78, 76)),
    Species("Populus_spec.", 9, 8.0, False, 0.08, 0.83, (172, 114, 92, 98)),
    Species("Pinus_nigra", 8, 5.4, False, 0.26, 0.76, (108, 76, 62, 68)),
    Species("Prunus_spec.", 6, 4.6, False, 0.46, 0.72, (176, 98, 70, 98)),
    Species("Tilia_spec.", 4, 7.2, False, 0.40, 0.68, (196, 116, 58, 66)),
)

# For each main genus, the genera of neighbouring stands with their weights, and the fraction of its tiles without
# another stand. A genus beside itself is another species of it: such a tile lists it twice, as in the real label file.
PARTNERS = {
    "Abies": {"Fagus": 22, "Quercus": 18, "Larix": 12, "Picea": 11, "Pseudotsuga": 10, "Pinus": 8},
    "Acer": {"Fagus": 118, "Picea": 54, "Quercus": 46, "Fraxinus": 19, "Cleared": 18, "Larix": 17, "Alnus": 10},
    "Alnus": {"Picea": 80, "Quercus": 60, "Cleared": 44, "Fagus": 37, "Pinus": 36, "Betula": 20, "Larix": 16},
    "Betula": {"Pinus": 78, "Picea": 74, "Quercus": 70, "Cleared": 35, "Fagus": 33, "Larix": 22, "Alnus": 18},
    "Cleared": {"Picea": 121, "Fagus": 84, "Quercus": 73, "Pinus": 72, "Alnus": 33, "Larix": 27, "Betula": 25},
    "Fagus": {"Picea": 166, "Quercus": 92, "Larix": 46, "Pseudotsuga": 36, "Cleared": 33, "Acer": 32, "Pinus": 31},
    "Fraxinus": {"Fagus": 98, "Quercus": 50, "Picea": 23, "Acer": 22, "Alnus": 17, "Cleared": 17, "Larix": 10},
    "Larix": {"Pinus": 88, "Picea": 76, "Fagus": 62, "Quercus": 56, "Pseudotsuga": 36, "Cleared": 15, "Larix": 12},
    "Picea": {"Fagus": 144, "Quercus": 66, "Pinus": 53, "Pseudotsuga": 39, "Larix": 37, "Cleared": 36, "Alnus": 25},
    "Pinus": {"Quercus": 63, "Pseudotsuga": 60, "Picea": 56, "Cleared": 41, "Larix": 35, "Betula": 29, "Pinus": 18},
    "Populus": {"Quercus": 10, "Alnus": 6, "Cleared": 4, "Betula": 3, "Fraxinus": 2, "Picea": 2, "Fagus": 2},
    "Prunus": {"Fagus": 8, "Quercus": 4, "Picea": 3, "Pinus": 2, "Cleared": 2, "Larix": 2, "Acer": 2},
    "Pseudotsuga": {"Pinus": 82, "Picea": 53, "Quercus": 46, "Fagus": 41, "Larix": 26, "Cleared": 10, "Abies": 8},
    "Quercus": {"Pinus": 148, "Picea": 119, "Fagus": 119, "Quercus": 95, "Pseudotsuga": 68, "Larix": 68, "Cleared": 39},
    "Tilia": {"Quercus": 5, "Fagus": 3, "Fraxinus": 2, "Acer": 2, "Cleared": 1, "Pinus": 1, "Picea": 1},
}
ALONE_SHARES = (0.39, 0.28, 0.20, 0.22, 0.22, 0.45, 0.33, 0.22, 0.45, 0.65, 0.47, 0.41, 0.27, 0.38, 0.48)
ALONE = dict(zip(PARTNERS, ALONE_SHARES, strict=True))

# For each age class, 0 to 11: its frequency, and the size of a crown relative to a mature tree.
AGE_SHARES = (1, 7, 17, 27, 19, 7, 6, 4, 3, 6, 2, 1)
AGE_CROWNS = (0.42, 0.46, 0.56, 0.68, 0.80, 0.88, 0.94, 1.0, 1.0, 1.02, 1.04, 1.06)


class Ground(NamedTuple):
    """Open ground around a forest; it belongs to no genus."""

    name: str
    share: int
    colour: tuple[int, int, int, int]  # IR, G, B, R


GROUNDS = (
    Ground("meadow", 5, (176, 128, 86, 104)),
    Ground("crop", 3, (150, 134, 92, 128)),
    Ground("soil", 2, (118, 112, 92, 130)),
)
FOREST_FLOOR = (108, 74, 56, 74)
CLEARED_FLOOR = (124, 104, 82, 116)


class Stand(NamedTuple):
    """An area of the tile with one kind of tree, or open ground; later stands cover earlier ones."""

    kind: int  # index into (*SPECIES, *GROUNDS)
    age: int  # age class, 0 to 11
    shape: str  # whole, edge (beyond a line), group (a disc) or strip
    extent: float  # in metres: distance of the line from the tile's centre, radius of the disc, half width of the strip

    @property
    def floor(self) -> tuple[int, int, int, int]:
        """Colour of the ground: IR, G, B, R."""
        if self.kind >= len(SPECIES):
            return GROUNDS[self.kind - len(SPECIES)].colour
        return FOREST_FLOOR if has_trees(self.kind) else CLEARED_FLOOR


class Plan(NamedTuple):
    """The content of a tile."""

    name: str
    stands: tuple[Stand, ...]
    stray: int  # species of single trees within the other stands
    strays: float  # fraction of such trees


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """A random generator for each stage, so that areas can be computed without colours.

    Only integers and uniform numbers are drawn, and no sine or exponential is computed: these differ between machines.
    """
    return np.random.default_rng([seed, index, ("plan", "drawing", "colour").index(purpose)])


def plan(seed: int, index: int) -> Plan:
    """The plan of tile `index`, from the seed of its archive."""
    rng = stream(seed, index, "plan")
    kind = _pick(rng, [species.share for species in SPECIES])
    genus = SPECIES[kind].genus
    main = Stand(kind, _age(rng, kind), "whole", 0.0)
    stands = [main]
    if rng.random() > ALONE[genus]:
        stands += [_neighbour(rng, kind) for _ in range(1 + _pick(rng, [67, 26, 7]))]
    if rng.random() < 0.004:  # a small wood in open ground, below the area threshold of a label
        stands = [_open_ground(rng)._replace(shape="whole"), main._replace(shape="group", extent=rng.uniform(4.0, 7.5))]
    elif rng.random() < 0.16:
        stands.append(_open_ground(rng) if rng.random() < 0.6 else _track(rng))
    stray = _neighbour(rng, kind).kind
    strays = rng.uniform(0.01, 0.08) if len(stands) > 1 and rng.random() < 0.3 and has_trees(stray) else 0.0
    sensor = "WEFL" if genus == "Cleared" or rng.random() < 0.82 else "BI"
    return Plan(f"{SPECIES[kind].name}_{main.age}_{index}_{sensor}_NLF.tif", tuple(stands), stray, strays)


def _pick(rng: np.random.Generator, weights: list[int]) -> int:
    bounds = np.cumsum(weights)
    return int(np.searchsorted(bounds, rng.integers(bounds[-1]), side="right"))


def _age(rng: np.random.Generator, kind: int) -> int:
    return _pick(rng, list(AGE_SHARES)) if has_trees(kind) else 0


def has_trees(kind: int) -> bool:
    """Whether the kind is a tree species, neither cleared nor open ground."""
    return kind < len(SPECIES) and SPECIES[kind].genus != "Cleared"


def _neighbour(rng: np.random.Generator, kind: int) -> Stand:
    """A random stand of a genus that usually grows beside the species `kind`."""
    partners = PARTNERS[SPECIES[kind].genus]
    genus = list(partners)[_pick(rng, list(partners.values()))]
    weights = [other.share * (other.genus == genus and index != kind) for index, other in enumerate(SPECIES)]
    chosen = _pick(rng, weights)
    shape, extent = ("edge", rng.uniform(3.0, 33.0)) if rng.random() < 0.65 else ("group", rng.uniform(4.0, 14.0))
    return Stand(chosen, _age(rng, chosen), shape, extent)


def _open_ground(rng: np.random.Generator) -> Stand:
    kind = len(SPECIES) + _pick(rng, [ground.share for ground in GROUNDS])
    return Stand(kind, 0, "edge", rng.uniform(8.0, 28.0))


def _track(rng: np.random.Generator) -> Stand:
    return Stand(len(SPECIES) + int(rng.integers(len(GROUNDS))), 0, "strip", rng.uniform(1.2, 3.2))
