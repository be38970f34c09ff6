"""Figure 4: the three query functions and random choice, warm start, on UC Merced.

    python -m experiments.fig4 --ucmerced-dir data/ucmerced
    python -m experiments.fig4 --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU. Expected (Section III-C): micro F1 of MGE+Clustering
79.87 % with 200 labels, over two points above random, and 85.81 % with 400, over one; of LL+Clustering 86.29 %, too.
A command that was stopped goes on when it is repeated, and runs that another figure has made are taken from --run-dir.
"""

from functools import partial

from aljax.commands.process import command
from experiments.figure_report import Axes, Figure, Lead, Score
from experiments.figures import QUERIES, OnUCMerced, make_figure

QUOTES = (
    Score("MGE+Clustering", 200, 79.87),
    Lead("MGE+Clustering", "Random", 2.0, 200),
    Score("MGE+Clustering", 400, 85.81),
    Lead("MGE+Clustering", "Random", 1.0, 400),
    Score("LL+Clustering", 400, 86.29),
    Lead("LL+Clustering", "Random", 1.0, 400),
)
FIGURE = Figure(
    name="fig4",
    title="Figure 4: query functions and random choice, warm start, UC Merced",
    series=QUERIES,  # the warm start is what UC Merced's script begins with
    baseline="Random",
    panels=(Axes("UC Merced", "UC Merced", "micro_f1", QUOTES),),
)
main = partial(make_figure, FIGURE, OnUCMerced, __doc__)

if __name__ == "__main__":
    command(main)
