"""The picture of a run, or of several: F1 at one half and at the threshold of the validation tiles, and mAP."""

from collections.abc import Iterable
from pathlib import Path

from aljax.loop.constant import Constant
from aljax.loop.history import AT_VALIDATION, METRICS, Record, known_metrics
from aljax.reports.curves import Histories, Panel, draw_panel, new_figure, save_figure, set_title

WIDTH = 11.0  # inches of the picture: at the width of a README its text is as large as the README's
ROW = 3.1  # inches of a row of panels
LETTER, LINE = 0.085, 0.2  # inches of a letter, and of a line, in the legend
HALF, FITTED = "threshold 0.5", "threshold fitted to validation tiles"


def draw_scores(path: Path, histories: Histories, title: str, constant: Constant | None = None) -> None:
    """Writes a PNG: micro and macro F1 and mAP against the number of labels; F1 also at the fitted threshold.

    Panels of the fitted threshold are left out unless every series has it. In a row, F1 has one scale: what the
    threshold gains is what the curves rise by.
    """
    micro, macro, precision = (Panel("", histories, metric, constant) for metric in METRICS)
    if not all(_knows(history) for history in histories.values()):
        rows = [[micro._replace(title=HALF), macro._replace(title=HALF), precision]]
    else:
        rows = [
            [half._replace(title=HALF), half._replace(title=FITTED, metric=fitted), *last]
            for half, fitted, last in zip((micro, macro), AT_VALIDATION, ([precision], []), strict=True)
        ]
    names = [*histories, *([] if constant is None else [constant.title])]
    columns = max(1, min(len(names), int(WIDTH / (0.8 + LETTER * max(map(len, names))))))
    # The sixth cell is free, and takes a legend whose names are as narrow as a panel.
    in_cell = len(rows) == 2 and columns >= min(3, len(names)) and LINE * len(names) < ROW
    below = 0.0 if in_cell else LINE * -(-len(names) // columns)
    figure = new_figure(WIDTH, ROW * len(rows) + 0.6 + below)
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for cells, panels in zip(grid, rows, strict=True):
        for axes, panel in zip(cells, panels, strict=False):
            draw_panel(axes, panel, markersize=4.0)
        if len(rows) == 2:
            cells[1].sharey(cells[0])
            cells[0].autoscale(axis="y")
    handles, labels = grid[0][0].get_legend_handles_labels()
    if len(rows) == 2:
        grid[1][2].set_axis_off()
    if in_cell:
        grid[1][2].legend(handles, labels, loc="center", fontsize="small", frameon=False)
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small")
    set_title(figure, title, rows[0])
    save_figure(figure, path)


def _knows(history: Iterable[Record]) -> bool:
    """Whether all records of a series have F1 at the fitted threshold."""
    return {*AT_VALIDATION} <= {*known_metrics(history)}
