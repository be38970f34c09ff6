"""Figure 3: LL+Clustering with warm and with cold start, (a) on UC Merced and (b) on TreeSatAI.

    python -m experiments.fig3 --ucmerced-dir data/ucmerced --treesatai-dir data/treesatai
    python -m experiments.fig3 --ucmerced-dir data/ucmerced --treesatai-dir data/treesatai --scale small

The paper's settings are the defaults and are work for a GPU; the small scale is for two CPU cores
(UC Merced, and a small archive in TreeSatAI's format from tools.generate). The paper finds the warm start better on UC
Merced and the cold start better on TreeSatAI (Section III-B); it gives no numbers. A command that was stopped goes on
when it is repeated, and runs that another figure has made are taken from --run-dir.
"""

from functools import partial

from aljax.commands.process import command
from experiments.figure_report import Axes, Figure, Lead
from experiments.figures import OnBoth, make_figure

FIGURE = Figure(
    name="fig3",
    title="Figure 3: LL+Clustering with warm and cold start",
    series={"cold start": {"query": "ll", "start": "cold"}, "warm start": {"query": "ll", "start": "warm"}},
    baseline="cold start",
    panels=(
        Axes("(a) UC Merced", "UC Merced", "micro_f1", (Lead("warm start", "cold start", 0.0),)),
        Axes("(b) TreeSatAI", "TreeSatAI", "micro_f1", (Lead("cold start", "warm start", 0.0),)),
    ),
)
main = partial(make_figure, FIGURE, OnBoth, __doc__)

if __name__ == "__main__":
    command(main)
