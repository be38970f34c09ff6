"""Histories as curves."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.loop.constant import Constant
from aljax.loop.history import Record, summarise
from aljax.reports.comparison import Difference, class_curves
from aljax.system.files import replacing

METRIC_TITLES = {"micro_f1": "Micro F1 (%)", "macro_f1": "Macro F1 (%)", "mean_average_precision": "mAP (%)"}
GREY = "#777777"  # of what is no series
# Colours apart for the colour-blind (Okabe and Ito), and markers and dashes apart in a grey print.
STYLES = (
    ("#000000", "o", "--"),
    ("#0072B2", "s", "-"),
    ("#D55E00", "^", "-"),
    ("#009E73", "D", "-"),
    ("#CC79A7", "v", "-."),
    ("#E69F00", "P", ":"),
)
# Characters per line in the titles of classes.
CLASS_TITLE_WIDTH = 36
# Width in inches of a legend entry without its text, and of one character.
LEGEND_INCHES, LETTER_INCHES = 0.7, 0.09
# A legend with a name of more characters goes below the curves.
LONG_NAME = 30


Histories = Mapping[str, Sequence[Record]]
"""The records of each series, by its name in the legend."""


class Panel(NamedTuple):
    """One pair of axes of a picture: the series that it shows, and the metric."""

    title: str
    histories: Histories
    metric: str
    constant: Constant | None = None
    """A dotted line where the metric is an F1."""


def draw_panels(path: Path, panels: Sequence[Panel], title: str) -> None:
    """Writes a PNG with panels side by side, each as in `draw_panel`."""
    names = [name for panel in panels for name in panel.histories]
    most_series = max(len(panel.histories) for panel in panels)
    # A legend of many or long names would hide the curves.
    below = most_series > len(STYLES) or max(map(len, names)) > LONG_NAME
    figure = new_figure(5.6 * len(panels), 4.4 + (0.22 * most_series if below else 0.0))
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_panel(axes, panel)
        axes.legend(**({"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "fontsize": "small"} if below else {}))
    set_title(figure, title, panels)
    save_figure(figure, path)


def draw_panel(axes: Any, panel: Panel, markersize: float = 5.0) -> None:
    """Draws the curves of a panel: mean over trials, and a band of one deviation, where they have the metric."""
    _set_styles(axes, len(panel.histories))
    for name, history in panel.histories.items():
        rows = [row for row in summarise(history) if panel.metric in row]
        labels = [row["num_labeled"] for row in rows]
        mean, deviation = (100 * np.array([row[f"{panel.metric}{key}"] for row in rows]) for key in ("", "_std"))
        (line,) = axes.plot(labels, mean, markersize=markersize, label=name)
        axes.fill_between(labels, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.12, linewidth=0)
    kind = panel.metric.partition("_at_")[0]
    if panel.constant is not None and kind in panel.constant._fields:
        level = 100 * getattr(panel.constant, kind)
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.5, label=panel.constant.title)
    axes.set_xlabel("Number of labelled tiles")
    axes.set_ylabel(METRIC_TITLES[kind])
    axes.set_title(panel.title, fontsize="medium")
    axes.grid(alpha=0.3)


def set_title(figure: Any, title: str, panels: Sequence[Panel]) -> None:
    """The title above the panels, and of how many trials their means are."""
    points = [row["trials"] for panel in panels for series in panel.histories.values() for row in summarise(series)]
    fewest, most = min(points), max(points)
    trials = f"{most} trials" if fewest == most else f"{fewest} to {most} trials"
    means = f"\nmean of {trials}, band: one standard deviation" if most > 1 else ""
    figure.suptitle(title + means, fontsize="medium")


def draw_classes(
    path: Path, histories: Histories, class_names: Sequence[str], class_tiles: Sequence[int], title: str
) -> None:
    """Writes a PNG: F1 of each class against the number of labels, mean over trials, most frequent class first.

    `class_tiles` (C,) is the number of tiles of the pool that have each class.
    """
    curves = {name: class_curves(history) for name, history in histories.items()}
    columns = min(4, len(class_names))
    rows = -(-len(class_names) // columns)
    figure = new_figure(2.9 * columns, 1.9 * rows + 1.0)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    order = sorted(range(len(class_names)), key=lambda index: -class_tiles[index])
    for axes, index in zip(grid, order, strict=False):
        _set_styles(axes, len(curves))
        for name, points in curves.items():
            axes.plot(list(points), [100 * scores[index] for scores in points.values()], markersize=3, label=name)
        caption = f"{class_names[index]} ({class_tiles[index]} tiles)"
        axes.set_title(textwrap.fill(caption, CLASS_TITLE_WIDTH), fontsize="small")
        axes.grid(alpha=0.3)
    for axes in grid[len(order) :]:
        axes.set_axis_off()
    for axes in grid[max(len(order) - columns, 0) : len(order)]:
        axes.tick_params(labelbottom=True)
    figure.suptitle(f"{title}\nF1 of each class (%) against the number of labelled tiles", fontsize="medium")
    handles, names = grid[0].get_legend_handles_labels()
    fitting = int(2.9 * columns / (LEGEND_INCHES + LETTER_INCHES * max(map(len, names))))
    figure.legend(handles, names, loc="outside lower center", ncols=min(max(fitting, 1), len(names)))
    save_figure(figure, path)


def draw_classes_at(
    path: Path, histories: Histories, class_names: Sequence[str], class_tiles: Sequence[int], labels: int, title: str
) -> None:
    """Writes a PNG: F1 of each class with `labels` labels, a mark per series, most frequent class first."""
    scores = {name: class_curves(history)[labels] for name, history in histories.items()}
    order = sorted(range(len(class_names)), key=lambda index: -class_tiles[index])
    figure = new_figure(8.0, 0.34 * len(order) + 2.0 + 0.2 * len(scores))
    axes = figure.subplots()
    _set_styles(axes, len(scores))
    for name, values in scores.items():
        shown = [100 * values[index] for index in order]
        axes.plot(shown, range(len(order)), linestyle="none", markersize=6, label=name)
    captions = [f"{class_names[index]} ({class_tiles[index]} tiles)" for index in order]
    axes.set_yticks(range(len(order)), [textwrap.shorten(caption, CLASS_TITLE_WIDTH) for caption in captions])
    axes.invert_yaxis()
    axes.set_xlabel(f"F1 of each class (%) with {labels} labelled tiles")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), fontsize="small", ncols=2)
    figure.suptitle(title, fontsize="medium")
    save_figure(figure, path)


def draw_differences(path: Path, rows: Mapping[str, Mapping[str, Difference]], what: str, title: str) -> None:
    """Writes a PNG: a line per row with its differences, in percentage points, and their confidence intervals.

    All rows have the same kinds of differences, one colour each.
    """
    kinds = list(next(iter(rows.values())))
    figure = new_figure(8.0, 0.45 * len(rows) + 1.8)
    axes = figure.subplots()
    axes.axvline(0.0, color="#999999", linewidth=1.0)
    _set_styles(axes, len(kinds))
    for number, kind in enumerate(kinds):
        shown = [row[kind].scaled(100.0) for row in rows.values()]
        # Offset around the row's line, in the order of the legend.
        heights = [row + 0.3 * (number - (len(kinds) - 1) / 2) for row in range(len(rows))]
        half_widths = [0.0 if one.high is None else one.high - one.mean for one in shown]
        axes.errorbar([one.mean for one in shown], heights, xerr=half_widths, capsize=3, linestyle="none", label=kind)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel(f"{what}, with 95 % confidence intervals")
    axes.grid(alpha=0.3, axis="x")
    axes.legend()
    figure.suptitle(title, fontsize="medium")
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Writes a PNG."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # or text between two dollar signs in a name would be a formula
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


def _set_styles(axes: Any, count: int) -> None:
    """Gives each of the next `count` series on the axes its own colour, marker and dashes."""
    colours, markers, dashes = zip(*_styles(count), strict=True)
    axes.set_prop_cycle(color=colours, marker=markers, linestyle=dashes)


def _styles(count: int) -> list[tuple[str, str, str]]:
    # From the seventh series on colours repeat, with other markers and dashes.
    places = [divmod(index, len(STYLES)) for index in range(count)]
    return [(STYLES[style][0], *STYLES[(style + repeat) % len(STYLES)][1:]) for repeat, style in places]
