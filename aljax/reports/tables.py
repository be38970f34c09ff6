"""Histories as tables of text, and as the content of `summary.json`."""

from collections.abc import Mapping, Sequence

from aljax.loop.history import AT_CLASSES, AT_VALIDATION, METRICS, summarise
from aljax.reports.curves import Histories

COLUMNS = {"micro_f1": "micro F1", "macro_f1": "macro F1", "mean_average_precision": "mAP"}
# The parts of a table: the metrics, and what stands above them.
PARTS = (
    (METRICS, "F1 at the threshold 0.5, and mean average precision"),
    (AT_VALIDATION, "F1 at the threshold fitted to the validation tiles"),
    (AT_CLASSES, "F1 at a threshold for each class, fitted to the validation tiles"),
)
CELL = 12  # characters of a mean and its deviation

Row = Mapping[str, int | float]


def table(histories: Histories) -> str:
    """Labels and scores (mean and deviation over trials, in %) of each series, as text, a part for each threshold.

    A part that no series has is left out.
    """
    rows = {name: {int(row["num_labeled"]): row for row in summarise(series)} for name, series in histories.items()}
    parts = [
        _part(rows, metrics, title)
        for metrics, title in PARTS
        if any(_has(row, metrics) for series in rows.values() for row in series.values())
    ]
    counts = [line for name, series in rows.items() if (line := _trials(name, series))]
    return "\n".join(["\n\n".join(parts), *counts])


def _part(rows: Mapping[str, Mapping[int, Row]], metrics: Sequence[str], title: str) -> str:
    width = max((CELL + 2) * len(metrics) + 2, *(len(name) + 2 for name in rows))
    heads = "  ".join(f"{COLUMNS[metric.partition('_at_')[0]]:<{CELL}}" for metric in metrics)
    lines = [title, "labels" + "".join(f"{name:>{width}}" for name in rows), "      " + f"{heads:>{width}}" * len(rows)]
    for labels in sorted({labels for series in rows.values() for labels in series}):
        cells = (_cell(series.get(labels), metrics) for series in rows.values())
        lines.append(f"{labels:6d}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _has(row: Row, metrics: Sequence[str]) -> bool:
    return all(metric in row for metric in metrics)


def _cell(row: Row | None, metrics: Sequence[str]) -> str:
    if row is None or not _has(row, metrics):
        return "-"
    cells = []
    for metric in metrics:
        # One trial has no deviation.
        deviation = f"±{100 * row[f'{metric}_std']:5.2f}" if row["trials"] > 1 else " " * 6
        cells.append(f"{100 * row[metric]:5.2f} {deviation}")
    return "  ".join(cells)


def _trials(name: str, rows: Mapping[int, Row]) -> str:
    """Where the means of a series are of fewer trials, how many there are; empty where they are not."""
    if len({row["trials"] for row in rows.values()}) == 1:
        return ""
    counts = ", ".join(f"{row['trials']} with {labels}" for labels, row in rows.items())
    return f"trials of {name}, by labels: {counts}"


def summary(histories: Histories) -> dict[str, list[dict[str, int | float]]]:
    """The content of `summary.json`: the rows of `summarise` for each series."""
    return {name: summarise(history) for name, history in histories.items()}
