"""Figure 4: the three query functions and random choice, warm start, on UC Merced.

    python -m experiments.fig4 --ucmerced-dir data/ucmerced
    python -m experiments.fig4 --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU. Expected (Section III-C): micro F1 of MGE+Clustering
79.87 % with 200 labels, over two points above random, and 85.81 % with 400, over one; of LL+Clustering 86.29 %, too.
A command that was stopped goes on when it is repeated, and runs that another figure has made are taken from --run-dir.
"""

from aljax.commands.options import read_options
from aljax.commands.process import command
from experiments.figures import QUERIES, Axes, Figure, OnUCMerced, make_figure
from experiments.quotes import Lead, Score

FIGURE = Figure(
    name="fig4",
    title="Figure 4: query functions and random choice, warm start, UC Merced",
    panels=(Axes("UC Merced", "UC Merced", "micro_f1", QUERIES),),
    quotes=(
        Score(0, "MGE+Clustering", 200, 79.87),
        Lead(0, "MGE+Clustering", "Random", 2.0, 200),
        Score(0, "MGE+Clustering", 400, 85.81),
        Lead(0, "MGE+Clustering", "Random", 1.0, 400),
        Score(0, "LL+Clustering", 400, 86.29),
        Lead(0, "LL+Clustering", "Random", 1.0, 400),
    ),
    baseline="Random",
)


def main() -> None:
    """Makes the figure."""
    make_figure(FIGURE, read_options(OnUCMerced, "python -m experiments.fig4", __doc__))


if __name__ == "__main__":
    command(main)
