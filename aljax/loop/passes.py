"""Passes over tiles: what one has found so far, and shards in which that is kept while it goes on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from aljax.queries.shortlist import Shortlist

Shard = Mapping[str, np.ndarray]
"""What a pass found since the shard before: its tiles only, and what changed in its shortlist."""

SPAN, SECONDS, LISTED = "span", "seconds", "shortlist_"


@dataclass
class Pass:
    """A pass over the tiles `rows` of a set, which are predicted in that order."""

    rows: Int[np.ndarray, " m"]
    found: Mapping[str, np.ndarray]
    """By name, arrays with a row for each tile of the set, filled for the tiles that are done."""
    shortlist: Shortlist | None = None
    done: int = 0
    """Number of `rows`."""
    seconds: float = 0.0
    """Spent on them, in all processes that worked on it."""
    _kept: int = 0
    _listed: Int[np.ndarray, " k"] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def left(self) -> Int[np.ndarray, " l"]:
        """The tiles that are not done."""
        return self.rows[self.done :]

    def count(self, tiles: int, seconds: float = 0.0) -> None:
        """Counts the next tiles, a batch that may be padded, as done, after so many seconds in all."""
        self.done, self.seconds = min(self.done + tiles, len(self.rows)), seconds

    def take_new(self) -> Shard | None:
        """What was found since the last call, or since the shards that the pass began with; None if nothing was."""
        if self.done == self._kept:
            return None
        new = self.rows[self._kept : self.done]
        shard = {SPAN: np.array([self._kept, self.done]), SECONDS: np.array(self.seconds)}
        shard |= {name: array[new] for name, array in self.found.items()}
        if self.shortlist is not None:
            shard |= {LISTED + name: array for name, array in self.shortlist.changes(self._listed).items()}
        self._mark()
        return shard

    def put(self, shards: Iterable[Shard]) -> None:
        """Brings the pass, before its first batch, to where it was when the last of its shards was taken."""
        for shard in shards:
            start, self.done = shard[SPAN].tolist()
            for name, array in self.found.items():
                array[self.rows[start : self.done]] = shard[name]
            if self.shortlist is not None:
                changes = ("places", "rows", "scores", "embeddings")
                self.shortlist.put(*(shard[LISTED + name] for name in changes))
            self.seconds = float(shard[SECONDS])
        self._mark()

    def _mark(self) -> None:
        self._kept = self.done
        if self.shortlist is not None:
            self._listed = self.shortlist.rows
