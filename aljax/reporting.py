"""Histories to curves, tables and summaries."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from aljax.files import write_atomically
from aljax.history import METRICS, Record, summarise

LABELS = {"random": "Random", "ll": "LL", "tpd": "TPD", "mge": "MGE"}
METRIC_TITLES = {"micro_f1": "Micro F1 (%)", "macro_f1": "Macro F1 (%)", "mean_average_precision": "mAP (%)"}
# Colours apart for the colour-blind (Okabe and Ito), and markers and dashes apart in a grey print.
STYLES = (
    ("#000000", "o", "--"),
    ("#0072B2", "s", "-"),
    ("#D55E00", "^", "-"),
    ("#009E73", "D", "-"),
    ("#CC79A7", "v", "-."),
    ("#E69F00", "P", ":"),
)


def series_name(query: str, clustering: bool) -> str:
    """The paper's name of a query function: "MGE+Clustering"."""
    return LABELS[query] + ("+Clustering" if clustering and query != "random" else "")


def draw_curves(
    path: Path,
    histories: Mapping[str, Sequence[Record]],
    title: str,
    metrics: Sequence[str] = ("micro_f1",),
) -> None:
    """Writes a PNG: each metric against the number of labels, mean over trials and a band of one deviation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(metrics), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        for (name, history), (colour, marker, dashes) in zip(histories.items(), _styles(len(histories)), strict=True):
            rows = summarise(history)
            x = [row["num_labeled"] for row in rows]
            mean = [100 * row[metric] for row in rows]
            spread = [100 * row[f"{metric}_std"] for row in rows]
            axes.plot(x, mean, color=colour, marker=marker, linestyle=dashes, markersize=5, label=name)
            lower = [m - s for m, s in zip(mean, spread, strict=True)]
            upper = [m + s for m, s in zip(mean, spread, strict=True)]
            axes.fill_between(x, lower, upper, color=colour, alpha=0.12, linewidth=0)
        axes.set_xlabel("Number of labelled tiles")
        axes.set_ylabel(METRIC_TITLES[metric])
        axes.grid(alpha=0.3)
        axes.legend()
    trials = max(len({record.trial for record in history}) for history in histories.values())
    figure.suptitle(f"{title}\nmean of {trials} trial{'s' if trials > 1 else ''}, band: one standard deviation")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomically(path, picture.getvalue())


def _styles(count: int) -> list[tuple[str, str, str]]:
    return [STYLES[index % len(STYLES)] for index in range(count)]


def table(histories: Mapping[str, Sequence[Record]]) -> str:
    """Labels, micro and macro F1 (mean and deviation over trials, in %) of each series, as text."""
    names = list(histories)
    summaries = {name: {row["num_labeled"]: row for row in summarise(histories[name])} for name in names}
    width = 30
    lines = ["labels" + "".join(f"{name:>{width}}" for name in names)]
    lines.append("      " + f"{'micro F1      macro F1':>{width}}" * len(names))
    for labels in sorted({labels for rows in summaries.values() for labels in rows}):
        cells = (_cell(summaries[name].get(labels)) for name in names)
        lines.append(f"{labels:6d}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def _cell(row: Mapping[str, int | float] | None) -> str:
    if row is None:
        return "-"
    return "  ".join(f"{100 * row[metric]:5.2f} ±{100 * row[f'{metric}_std']:5.2f}" for metric in METRICS[:2])


def summary(histories: Mapping[str, Sequence[Record]]) -> dict[str, list[dict[str, int | float]]]:
    """What summary.json holds: the rows of `summarise` for each series."""
    return {name: summarise(history) for name, history in histories.items()}
