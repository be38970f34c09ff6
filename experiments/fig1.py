"""Figure 1: LL+Clustering with budgets of 10, 20, 40 and 80 tiles per iteration, on UC Merced.

    python -m experiments.fig1 --ucmerced-dir data/ucmerced
    python -m experiments.fig1 --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

The paper's settings are the defaults and are work for a GPU. The paper finds that small budgets score higher with the
same number of labels (Section III-B); it gives no numbers. A command that was stopped goes on when it is repeated, and
runs that another figure has made are taken from --run-dir.
"""

import itertools
from functools import partial

from aljax.commands.process import command
from experiments.figure_report import Axes, Figure, Lead
from experiments.figures import OnUCMerced, make_figure

BUDGETS = (10, 20, 40, 80)
FIGURE = Figure(
    name="fig1",
    title="Figure 1: LL+Clustering with different budgets b, UC Merced",
    series={f"b = {budget}": {"query": "ll", "budget": budget} for budget in BUDGETS},
    baseline="b = 80",
    panels=(
        Axes(
            "UC Merced",
            "UC Merced",
            "micro_f1",
            tuple(Lead(f"b = {smaller}", f"b = {larger}", 0.0) for smaller, larger in itertools.pairwise(BUDGETS)),
        ),
    ),
)
main = partial(make_figure, FIGURE, OnUCMerced, __doc__)

if __name__ == "__main__":
    command(main)
