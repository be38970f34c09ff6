"""Figure 2: LL alone against LL+Clustering with a budget of 20 tiles per iteration, on UC Merced.

    python -m experiments.fig2 --ucmerced-dir data/ucmerced
    python -m experiments.fig2 --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU. The paper finds that clustering improves the scores
significantly at every number of labels (Section III-B); it gives no numbers. A command that was stopped goes on when
it is repeated, and runs that another figure has made are taken from --run-dir.
"""

from aljax.commands.options import read_options
from aljax.commands.process import command
from experiments.figures import Axes, Figure, OnUCMerced, Series, make_figure
from experiments.quotes import Lead

FIGURE = Figure(
    name="fig2",
    title="Figure 2: LL and LL+Clustering, b = 20, UC Merced",
    panels=(
        Axes(
            "UC Merced",
            "UC Merced",
            "micro_f1",
            (Series("LL", {"query": "ll", "clustering": False}), Series("LL+Clustering", {"query": "ll"})),
        ),
    ),
    quotes=(Lead(0, "LL+Clustering", "LL", 0.0),),
    baseline="LL",
)


def main() -> None:
    """Makes the figure."""
    make_figure(FIGURE, read_options(OnUCMerced, "python -m experiments.fig2", __doc__))


if __name__ == "__main__":
    command(main)
