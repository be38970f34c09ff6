"""The immutable record of which tiles of a pool are labelled, in which order and since which iteration."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from aljax.errors import InputError


@dataclass(frozen=True)
class Pool:
    """`rounds[0]` are the initially labelled tiles, `rounds[k]` those chosen at the end of iteration k."""

    size: int
    rounds: tuple[tuple[int, ...], ...] = ()
    skipped: tuple[int, ...] = ()
    """Tiles that cannot be labelled: in neither `labelled` nor `unlabelled`."""

    @property
    def labelled(self) -> Int[np.ndarray, " n"]:
        """Indices in the order in which they were labelled."""
        return np.array([index for chosen in self.rounds for index in chosen], dtype=np.int64)

    @property
    def unlabelled(self) -> Int[np.ndarray, " n"]:
        """Indices of the tiles that may be chosen, in ascending order."""
        taken = self.mask
        taken[list(self.skipped)] = True
        return np.flatnonzero(~taken)

    @property
    def mask(self) -> np.ndarray:
        """(size,) bool, True where labelled."""
        mask = np.zeros(self.size, dtype=bool)
        mask[self.labelled] = True
        return mask

    @property
    def num_labelled(self) -> int:
        return sum(len(chosen) for chosen in self.rounds)

    def label(self, indices: Int[np.ndarray, " n"]) -> "Pool":
        """The pool with one more round. Raises InputError for an index that repeats, is out of range or labelled."""
        new = tuple(int(index) for index in indices)
        if len(set(new)) != len(new):
            raise InputError("the same tile was chosen twice in one round")
        mask = self.mask
        for index in new:
            if not 0 <= index < self.size:
                raise InputError(f"tile {index} is not in the pool of {self.size} tiles")
            if mask[index]:
                raise InputError(f"tile {index} is labelled already")
        return replace(self, rounds=(*self.rounds, new))
