"""Figure 5: the three query functions and random choice, cold start, on TreeSatAI: (a) micro and (b) macro F1.

    python -m experiments.fig5 --treesatai-dir data/treesatai
    python -m experiments.fig5 --treesatai-dir data/forests --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU; the small scale is meant for a small archive in the format
of TreeSatAI from tools.generate. Expected (Section III-C): micro F1 of LL+Clustering 69.90 % with 18,000 labels, over
two points above random; macro F1 with 14,000 labels 59.05 % for LL+Clustering (8 points above random), 55.49 % for
MGE+Clustering (about 5) and 54.74 % for TPD+Clustering (over 4). A command that was stopped goes on when it is
repeated, and runs that another figure has made are taken from --run-dir.
"""

from functools import partial

from aljax.commands.process import command
from experiments.figure_report import Axes, Figure, Lead, Score
from experiments.figures import QUERIES, OnTreeSatAI, make_figure

MICRO = (
    Score("LL+Clustering", 18_000, 69.90),
    Lead("LL+Clustering", "Random", 2.0, 18_000),
)
MACRO = (
    Score("LL+Clustering", 14_000, 59.05),
    Lead("LL+Clustering", "Random", 8.0, 14_000, ""),
    Score("MGE+Clustering", 14_000, 55.49),
    Lead("MGE+Clustering", "Random", 5.0, 14_000, "about "),
    Score("TPD+Clustering", 14_000, 54.74),
    Lead("TPD+Clustering", "Random", 4.0, 14_000),
)
FIGURE = Figure(
    name="fig5",
    title="Figure 5: query functions and random choice, cold start, TreeSatAI",
    series=QUERIES,  # the cold start is what TreeSatAI's script begins with
    baseline="Random",
    panels=(
        Axes("(a) TreeSatAI, micro F1", "TreeSatAI", "micro_f1", MICRO),
        Axes("(b) TreeSatAI, macro F1", "TreeSatAI", "macro_f1", MACRO),
    ),
)
main = partial(make_figure, FIGURE, OnTreeSatAI, __doc__)

if __name__ == "__main__":
    command(main)
