"""The most uncertain tiles while scores stream past: memory is that of the shortlist, not of the pool."""

import numpy as np
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array
from aljax.queries.selection import select


class Shortlist:
    """The `size` highest scores so far, with the tiles' rows and embeddings; equal scores in the order of rows."""

    def __init__(
        self,
        size: int,
        rows: Int[np.ndarray, " k"] | None = None,
        scores: Float[np.ndarray, " k"] | None = None,
        embeddings: Float[np.ndarray, "k d"] | None = None,
    ) -> None:
        """Empty, or with what `arrays` gave: such a list is for selecting, nothing can be added to it."""
        self.size = size
        self.rows: Int[np.ndarray, " k"] = np.empty(0, np.int64) if rows is None else rows
        self.scores: Float[np.ndarray, " k"] = np.empty(0, np.float32) if scores is None else scores
        self._embeddings = embeddings

    def arrays(self) -> dict[str, np.ndarray]:
        """What the list holds, by the names of the constructor's arguments."""
        return {"rows": self.rows, "scores": self.scores, "embeddings": self.embeddings}

    @property
    def embeddings(self) -> Float[np.ndarray, "k d"]:
        if self._embeddings is None:
            raise ValueError("the shortlist is empty: add tiles first")
        return self._embeddings[: len(self.rows)]

    def add(
        self, rows: Int[np.ndarray, " b"], scores: Float[AnyArray, " b"], embeddings: Float[AnyArray, "b d"]
    ) -> None:
        """Considers a batch of tiles; a row that comes twice, as padding does, counts once.

        Raises ValueError for a score that is NaN.
        """
        scores, embeddings = np.asarray(as_array(scores)), as_array(embeddings)
        if len(unranked := np.flatnonzero(np.isnan(scores))):
            raise ValueError(f"the score of row {np.asarray(rows)[unranked[0]]} is NaN: every tile needs one")
        if self._embeddings is None:
            self._embeddings = np.empty((self.size, embeddings.shape[1]), np.float32)
        rows, first = np.unique(rows, return_index=True)
        held = len(self.rows)
        every_row = np.concatenate([self.rows, rows])
        every_score = np.concatenate([self.scores, scores[first]])
        best = np.lexsort((every_row, -every_score))[: self.size]
        entering = best[best >= held]
        if not len(entering):
            return
        # Who enters takes the place of who leaves, so no other embedding moves.
        places = np.concatenate([np.setdiff1d(np.arange(held), best), np.arange(held, len(best))])
        self._embeddings[places] = np.asarray(embeddings)[first[entering - held]]
        self.rows = _placed(self.rows, places, every_row[entering], len(best))
        self.scores = _placed(self.scores, places, every_score[entering], len(best))

    def select(self, key: Array | int, budget: int, multiplier: int) -> Int[np.ndarray, " budget"]:
        """Rows that `aljax.select` picks from the tiles on the list: those it would pick from all tiles added."""
        order = np.argsort(self.rows)
        chosen = select(key, self.scores[order], self.embeddings[order], budget, multiplier)
        return self.rows[order][chosen]


def _placed(old: np.ndarray, places: np.ndarray, new: np.ndarray, size: int) -> np.ndarray:
    grown = np.concatenate([old, np.empty(size - len(old), old.dtype)])
    grown[places] = new
    return grown
