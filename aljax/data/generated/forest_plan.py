"""What a generated forest tile will show: its stands and how they lie, before anything is drawn."""

from typing import NamedTuple

import numpy as np

from aljax.data.generated.forest_species import AGE_SHARES, ALONE, GROUNDS, PARTNERS, SPECIES


class Stand(NamedTuple):
    """A part of the tile with one kind of tree, or open ground; a later stand lies over the earlier ones."""

    kind: int  # index into SPECIES, and beyond them into GROUNDS
    age: int  # age class, 0 to 11
    shape: str  # whole, edge (beyond a line), group (a disc) or strip
    extent: float  # metres: of the line from the tile's middle, radius of the disc, half the strip's width


class Plan(NamedTuple):
    """What a tile will show, before anything is drawn."""

    name: str
    stands: tuple[Stand, ...]
    stray: int  # species of single trees within the other stands
    strays: float  # their part of the trees


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """Random numbers of their own for each stage, so that areas need no colours.

    Drawn from them are whole and uniform numbers only, and nothing takes a sine or an exponential: those differ
    between machines.
    """
    return np.random.default_rng([seed, index, ("plan", "drawing", "colour").index(purpose)])


def plan(seed: int, index: int) -> Plan:
    """What tile `index` will show."""
    rng = stream(seed, index, "plan")
    kind = _pick(rng, [species.share for species in SPECIES])
    genus = SPECIES[kind].genus
    main = Stand(kind, _age(rng, kind), "whole", 0.0)
    stands = [main]
    if rng.random() > ALONE[genus]:
        stands += [_neighbour(rng, kind) for _ in range(1 + _pick(rng, [67, 26, 7]))]
    if rng.random() < 0.004:  # a copse in the open, too small to count
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
    """Whether it is a kind of tree: neither cleared nor open ground."""
    return kind < len(SPECIES) and SPECIES[kind].genus != "Cleared"


def _neighbour(rng: np.random.Generator, kind: int) -> Stand:
    """A stand of one of the genera that grow beside the species `kind`."""
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
