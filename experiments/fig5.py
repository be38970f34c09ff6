"""Figure 5: the three query functions and random choice, cold start, on TreeSatAI: (a) micro and (b) macro F1.

    python -m experiments.fig5 --treesatai-dir data/treesatai
    python -m experiments.fig5 --treesatai-dir data/forests --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU; the small scale is meant for a small archive in the format
of TreeSatAI from tools.generate. Expected (Section III-C): micro F1 of LL+Clustering 69.90 % with 18,000 labels, over
two points above random; macro F1 with 14,000 labels 59.05 % for LL+Clustering (8 points above random), 55.49 % for
MGE+Clustering (about 5) and 54.74 % for TPD+Clustering (over 4). A command that was stopped goes on when it is
repeated, and runs that another figure has made are taken from --run-dir.
"""

from aljax.commands.options import read_options
from aljax.commands.process import command
from experiments.figures import QUERIES, Axes, Figure, OnTreeSatAI, Series, make_figure
from experiments.quotes import Lead, Score

COLD = tuple(Series(series.name, {**series.changes, "start": "cold"}) for series in QUERIES)
FIGURE = Figure(
    name="fig5",
    title="Figure 5: query functions and random choice, cold start, TreeSatAI",
    panels=(
        Axes("(a) TreeSatAI, micro F1", "TreeSatAI", "micro_f1", COLD),
        Axes("(b) TreeSatAI, macro F1", "TreeSatAI", "macro_f1", COLD),
    ),
    quotes=(
        Score(0, "LL+Clustering", 18_000, 69.90),
        Lead(0, "LL+Clustering", "Random", 2.0, 18_000),
        Score(1, "LL+Clustering", 14_000, 59.05),
        Lead(1, "LL+Clustering", "Random", 8.0, 14_000, ""),
        Score(1, "MGE+Clustering", 14_000, 55.49),
        Lead(1, "MGE+Clustering", "Random", 5.0, 14_000, "about "),
        Score(1, "TPD+Clustering", 14_000, 54.74),
        Lead(1, "TPD+Clustering", "Random", 4.0, 14_000),
    ),
    baseline="Random",
)


def main() -> None:
    """Makes the figure."""
    make_figure(FIGURE, read_options(OnTreeSatAI, "python -m experiments.fig5", __doc__))


if __name__ == "__main__":
    command(main)
