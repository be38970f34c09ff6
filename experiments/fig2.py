"""Figure 2: LL alone against LL+Clustering with a budget of 20 tiles per iteration, on UC Merced.

    python -m experiments.fig2 --ucmerced-dir data/ucmerced
    python -m experiments.fig2 --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU. The paper finds that clustering improves the scores
significantly at every number of labels (Section III-B); it gives no numbers. A command that was stopped goes on when
it is repeated, and runs that another figure has made are taken from --run-dir.
"""

from functools import partial

from aljax.commands.process import command
from experiments.figure_report import Axes, Figure, Lead
from experiments.figures import OnUCMerced, make_figure

FIGURE = Figure(
    name="fig2",
    title="Figure 2: LL and LL+Clustering, b = 20, UC Merced",
    series={"LL": {"query": "ll", "clustering": False}, "LL+Clustering": {"query": "ll"}},
    baseline="LL",
    panels=(Axes("UC Merced", "UC Merced", "micro_f1", (Lead("LL+Clustering", "LL", 0.0),)),),
)
main = partial(make_figure, FIGURE, OnUCMerced, __doc__)

if __name__ == "__main__":
    command(main)
