"""The most uncertain tiles, kept while batches of scores arrive: memory is that of the shortlist, not of the pool."""

import numpy as np
from jaxtyping import Array, Float, Int

from aljax.arrays import AnyArray, as_array
from aljax.networks.head import unit_features
from aljax.queries.selection import Clustered, cluster, select


class Shortlist:
    """The `size` highest scores so far, with rows (indices in the pool) and embeddings; ties are ordered by row."""

    def __init__(
        self,
        size: int,
        rows: Int[np.ndarray, " k"] | None = None,
        scores: Float[np.ndarray, " k"] | None = None,
        embeddings: Float[np.ndarray, "k d"] | None = None,
    ) -> None:
        """An empty shortlist, or one restored from `arrays`, which allows `select` but not `add` or `put`."""
        self.size = size
        self.rows: Int[np.ndarray, " k"] = np.empty(0, np.int64) if rows is None else rows
        self.scores: Float[np.ndarray, " k"] = np.empty(0, np.float32) if scores is None else scores
        self._embeddings = embeddings

    def arrays(self) -> dict[str, np.ndarray]:
        """The content, by the names of the constructor's arguments."""
        return {"rows": self.rows, "scores": self.scores, "embeddings": self.embeddings}

    @property
    def embeddings(self) -> Float[np.ndarray, "k d"]:
        """Embeddings of the tiles, in the order of `rows`. Raises ValueError for an empty list."""
        if self._embeddings is None:
            raise ValueError("the shortlist is empty: add tiles first")
        return self._embeddings[: len(self.rows)]

    def add(
        self, rows: Int[np.ndarray, " b"], scores: Float[AnyArray, " b"], embeddings: Float[AnyArray, "b d"]
    ) -> None:
        """Adds a batch of tiles and keeps the best; a row that occurs twice, as padding does, counts once.

        Raises ValueError for a NaN score.
        """
        scores, embeddings = np.asarray(as_array(scores)), as_array(embeddings)
        if len(unranked := np.flatnonzero(np.isnan(scores))):
            raise ValueError(f"the score of row {np.asarray(rows)[unranked[0]]} is NaN: every tile needs one")
        rows, first = np.unique(rows, return_index=True)
        held = len(self.rows)
        every_row = np.concatenate([self.rows, rows])
        every_score = np.concatenate([self.scores, scores[first]])
        best = np.lexsort((every_row, -every_score))[: self.size]
        entering = best[best >= held]
        if not len(entering):
            return
        # New tiles take the places of those that drop out, so no other embedding is copied.
        places = np.concatenate([np.setdiff1d(np.arange(held), best), np.arange(held, len(best))])
        entering_embeddings = np.asarray(embeddings)[first[entering - held]]
        self.put(places, every_row[entering], every_score[entering], entering_embeddings)

    def changes(self, before: Int[np.ndarray, " l"]) -> dict[str, np.ndarray]:
        """What has changed since `rows` were those `before`, as the arguments of `put` by their names."""
        places = np.flatnonzero(self.rows != np.pad(before, (0, len(self.rows) - len(before)), constant_values=-1))
        changed = self.rows[places], self.scores[places]
        embeddings = np.empty((0, 0), np.float32) if self._embeddings is None else self._embeddings[places]
        return dict(zip(("places", "rows", "scores", "embeddings"), (places, *changed, embeddings), strict=True))

    def put(
        self,
        places: Int[np.ndarray, " k"],
        rows: Int[np.ndarray, " k"],
        scores: Float[np.ndarray, " k"],
        embeddings: Float[np.ndarray, "k d"],
    ) -> None:
        """Puts tiles at places of the list, in the order of `rows`; places after its end make it longer."""
        if not len(places):
            return
        if self._embeddings is None:
            self._embeddings = np.empty((self.size, embeddings.shape[1]), np.float32)
        self._embeddings[places] = embeddings
        length = max(len(self.rows), int(places.max()) + 1)
        self.rows = _placed(self.rows, places, rows, length)
        self.scores = _placed(self.scores, places, scores, length)

    def select(
        self, key: Array | int, budget: int, multiplier: int, by_direction: bool = False
    ) -> Int[np.ndarray, " budget"]:
        """Rows that `aljax.select` chooses from the shortlist, the same as from all tiles that were added.

        The same only if budget * multiplier is at most `size`. `by_direction` clusters the embeddings divided by their
        norm.
        """
        order = np.argsort(self.rows)
        chosen = select(key, self.scores[order], self._features(order, by_direction), budget, multiplier)
        return self.rows[order][chosen]

    def cluster(self, key: Array | int, budget: int, multiplier: int, by_direction: bool = False) -> Clustered:
        """The rows that `select` chooses from, highest score first, and their clusters."""
        order = np.argsort(self.rows)
        candidates, assignment = cluster(
            key, self.scores[order], self._features(order, by_direction), budget, multiplier
        )
        return Clustered(self.rows[order][candidates], assignment)

    def _features(self, order: Int[np.ndarray, " k"], by_direction: bool) -> Float[np.ndarray, "k d"]:
        return np.asarray(unit_features(self.embeddings[order])) if by_direction else self.embeddings[order]


def _placed(old: np.ndarray, places: np.ndarray, new: np.ndarray, size: int) -> np.ndarray:
    grown = np.concatenate([old, np.empty(size - len(old), old.dtype)])
    grown[places] = new
    return grown
