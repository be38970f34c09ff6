"""The report of the regimes: curves, labels needed and rare classes found in each, and a map of all."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from aljax.data.archive import Archive, Split
from aljax.loop.constant import Constant
from aljax.loop.history import METRICS, Record, known_metrics, to_text
from aljax.queries.table import QUERIES
from aljax.reports.comparison import Difference, area_difference, areas
from aljax.reports.curves import Panel, draw_panels, new_figure, save_figure
from aljax.reports.score_panels import draw_scores
from aljax.runs.run_dir import FinishedRun
from aljax.system.files import disk_errors, write_atomically

TITLES = {
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "micro_f1_at_validation_threshold": "micro F1, fitted",
    "macro_f1_at_validation_threshold": "macro F1, fitted",
    "mean_average_precision": "mAP",
}
BASELINE = ("random", "random")
RESAMPLES = 2000  # of the trials, for the intervals of labels needed
RARE = 0.05  # share of the pool below which a class counts as rare
RARE_ANY = "any rare class"
# The curves in the pictures of a regime; the map and the tables have all.
SHOWN = (BASELINE, ("mge", "random"), *((query, "coverage") for query in ("random", "mge", "rarity", "boundary")))
Series = Mapping[tuple[str, str], Sequence[Record]]


def series_title(query: str, first: str) -> str:
    """ "coverage, then Rarity"."""
    return f"{'coverage, then ' if first == 'coverage' else ''}{QUERIES[query].title}"


def curves(history: Sequence[Record], metric: str) -> tuple[list[int], Float[np.ndarray, "trials points"]]:
    """The numbers of labels (points), and the metric of each trial at each of them (trials, points)."""
    labels = sorted({record.num_labeled for record in history})
    trials = sorted({record.trial for record in history})
    found = {(record.trial, record.num_labeled): getattr(record, metric) for record in history}
    return labels, np.array([[found[trial, count] for count in labels] for trial in trials])


def labels_needed(history: Sequence[Record], baseline: Sequence[Record], metric: str) -> dict[str, float | None]:
    """Labels at which the mean curve reaches the baseline's last mean score, with a 95 % bootstrap interval.

    Trials of both series are resampled in pairs, because they begin with the same tiles. None: not reached.
    """
    labels, ours = curves(history, metric)
    _, theirs = curves(baseline, metric)
    rng = np.random.default_rng(0)
    drawn = [np.arange(len(ours)), *rng.integers(0, len(ours), (RESAMPLES, len(ours)))]
    found = [_first_reached(labels, ours[rows].mean(0), theirs[rows].mean(0)[-1]) for rows in drawn]
    low, high = np.percentile(found[1:], [2.5, 97.5], method="nearest")
    return {
        name: None if np.isinf(value) else float(value)
        for name, value in (("labels", found[0]), ("low", low), ("high", high))
    }


def _first_reached(labels: Sequence[int], values: np.ndarray, level: float) -> float:
    """Number of labels at which the curve first reaches `level`, by linear interpolation; infinite if never."""
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return float("inf")
    place = int(reached[0])
    if place == 0:
        return float(labels[0])
    share = (level - values[place - 1]) / (values[place] - values[place - 1])
    return float(labels[place - 1] + share * (labels[place] - labels[place - 1]))


def rare_tiles(history: Sequence[Record], archive: Archive, split: Split) -> dict[str, float]:
    """Tiles with each rare class that a query chose after the first batch, as shares of those in the pool.

    Means over trials, rarest class first; `RARE_ANY` is that of tiles with any of these classes.
    """
    has = np.asarray(archive.labels == 1)
    share = has[split.pool].mean(0)
    rare = [index for index in np.argsort(share, kind="stable") if 0.0 < share[index] < RARE]
    columns = {RARE_ANY: has[:, rare].any(1)} | {archive.class_names[index]: has[:, index] for index in rare}
    places = {tile: index for index, tile in enumerate(archive.ids)}
    trials = len({record.trial for record in history})
    chosen = [places[tile] for record in history for tile in record.selected]
    return {
        name: float(column[chosen].sum() / trials / max(column[split.pool].sum(), 1))
        for name, column in columns.items()
    }


def write_regime(
    folder: Path, title: str, series: Series, archive: Archive, split: Split, constant: Constant | None = None
) -> dict[str, Any]:
    """Writes the pictures and `summary.json` of a regime; returns the content of the latter."""
    baseline = series[BASELINE]
    known = known_metrics(record for history in series.values() for record in history)
    rows = {}
    for (query, first), history in series.items():
        row: dict[str, Any] = {"query": query, "first": first, "rare_tiles_chosen": rare_tiles(history, archive, split)}
        for metric in (name for name in TITLES if name in known):
            labels, values = curves(history, metric)
            area = area_difference(history, baseline, metric)
            assert area is not None
            row[metric] = {
                "mean": dict(zip(map(str, labels), values.mean(0).tolist(), strict=True)),
                "area": float(np.mean(list(areas(history, metric).values()))),
                "area_difference": area._asdict(),
                "labels_needed": labels_needed(history, baseline, metric),
            }
        rows[series_title(query, first)] = row
    budget = max(record.num_labeled for record in baseline)
    best = {metric: max(rows, key=lambda name: rows[name][metric]["area"]) for metric in METRICS[:2]}
    summary = {"title": title, "pool": len(split.pool), "test": len(split.test), "labels": budget, "best": best}
    summary["series"] = rows
    shown = {series_title(*name): series[name] for name in SHOWN if name in series}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draw_panels(folder / "curve.png", [Panel("", shown, metric, constant) for metric in METRICS[:2]], title)
        draw_scores(folder / "scores.png", shown, title, constant)
        write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


def write_histories(folder: Path, runs: Mapping[tuple[str, str], FinishedRun]) -> None:
    """Writes `histories-FIRST.tar.xz` with `QUERY/config.json` and `QUERY/history.jsonl` of each run.

    Without the thresholds of each class, half of the bytes, which follow from the scores that a run keeps.
    """
    for first in ("random", "coverage"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:xz") as archive:
            for (query, begun), run in runs.items():
                config = json.dumps(run.config, indent=2, ensure_ascii=False) + "\n"
                history = to_text(replace(record, class_thresholds=None) for record in run.history)
                for name, text in (("config.json", config), ("history.jsonl", history)):
                    if begun == first:
                        about = tarfile.TarInfo(f"{query}/{name}")
                        about.size = len(text.encode())
                        archive.addfile(about, io.BytesIO(text.encode()))
        with disk_errors(folder):
            write_atomically(folder / f"histories-{first}.tar.xz", packed.getvalue())


def write_map(folder: Path, titles: Mapping[str, str], summaries: Mapping[str, Any]) -> None:
    """Writes `map.png`, the difference in area under the curve of all series from random choice, and `table.md`."""
    rows = list(next(iter(summaries.values()))["series"])
    columns = [(regime, metric) for regime, one in summaries.items() for metric in _metrics(one)]
    points = np.array(
        [
            [100 * summaries[name]["series"][row][metric]["area_difference"]["mean"] for name, metric in columns]
            for row in rows
        ]
    )
    figure = new_figure(0.8 * len(columns) + 3.0, 0.3 * len(rows) + 2.2)
    axes = figure.subplots()
    limit = float(np.abs(points).max()) or 1.0
    axes.imshow(points, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in np.ndindex(points.shape):
        dark = abs(points[row, column]) > 0.6 * limit
        colour = "w" if dark else "k"
        axes.text(column, row, f"{points[row, column]:+.1f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), [TITLES[metric].replace(" ", "\n") for _, metric in columns], fontsize=8)
    for regime in summaries:
        places = [place for place, (name, _) in enumerate(columns) if name == regime]
        axes.text(np.mean(places), -0.7, titles[regime].replace(", ", ",\n"), ha="center", va="bottom")
        if places[0]:
            axes.axvline(places[0] - 0.5, color="k", linewidth=2)
    figure.suptitle("Mean score along the curve against random choice (points)", fontsize="medium")
    with disk_errors(folder):
        save_figure(figure, folder / "map.png")
        write_atomically(folder / "table.md", "\n\n".join(map(as_markdown, summaries.values())) + "\n")


def _metrics(summary: Mapping[str, Any]) -> list[str]:
    return [metric for metric in TITLES if metric in next(iter(summary["series"].values()))]


def as_markdown(summary: Mapping[str, Any]) -> str:
    """Three tables in Markdown: differences along the curve, labels needed, and rare tiles chosen."""
    count, metrics = summary["labels"], _metrics(summary)
    names = " | ".join(TITLES[metric] for metric in metrics)
    gained = [
        f"**{summary['title']}** ({summary['pool']:,} tiles in the pool, {summary['test']} for the test): mean along "
        "the curve against random choice, in points",
        "",
        f"| | {names} |",
        "|---" * (len(metrics) + 1) + "|",
    ]
    needed = [f"Labels for what random choice has with {count}", "", f"| | {names} |"]
    needed.append("|---" * (len(metrics) + 1) + "|")
    rare = list(next(iter(summary["series"].values()))["rare_tiles_chosen"])
    found = [f"Share of the pool's tiles with a class of under {RARE:.0%} that was chosen after the first batch", ""]
    found += [f"| | {' | '.join(rare)} |", "|---" * (len(rare) + 1) + "|"]
    for name, row in summary["series"].items():
        points = (Difference(**row[metric]["area_difference"]).in_points(1) for metric in metrics)
        gained.append(f"| {name} | {' | '.join(points)} |")
        needed.append(f"| {name} | {' | '.join(_needed(row[metric]['labels_needed'], count) for metric in metrics)} |")
        found.append(f"| {name} | {' | '.join(f'{share:.0%}' for share in row['rare_tiles_chosen'].values())} |")
    return "\n".join([*gained, "", *needed, "", *found])


def _needed(needed: Mapping[str, float | None], count: int) -> str:
    if needed["labels"] is None:
        return f"more than {count}"
    high = "more" if needed["high"] is None else f"{needed['high']:.0f}"
    return f"{needed['labels']:.0f} [{needed['low']:.0f}, {high}]"
