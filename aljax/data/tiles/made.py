"""Texts that are made when they are asked for: at a million tiles, whole paths alone would take 120 MB."""

from collections.abc import Callable, Sequence
from typing import SupportsIndex, overload


class Made(Sequence[str]):
    """A sequence of `count` texts that `make` makes by their index, at each access."""

    def __init__(self, count: int, make: Callable[[int], str]) -> None:
        self._rows, self._make = range(count), make

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...

    def __getitem__(self, row: SupportsIndex | slice) -> str | tuple[str, ...]:
        """Text `row`, or those of a slice."""
        rows = self._rows[row]
        return self._make(rows) if isinstance(rows, int) else tuple(map(self._make, rows))
