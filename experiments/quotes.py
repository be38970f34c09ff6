"""What the paper says of a figure, beside what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aljax.loop.history import summarise
from aljax.reports.comparison import differences_by_labels
from aljax.reports.curves import Panel


class Score(NamedTuple):
    """A number that the paper quotes from a panel, in %."""

    panel: int
    series: str
    labels: int
    percent: float


class Lead(NamedTuple):
    """A difference that the paper reads from a panel: the series lies above the baseline by so many `points`."""

    panel: int
    series: str
    baseline: str
    points: float
    labels: int | None = None
    """None: at every number of labels after the initial one."""
    words: str = "more than "
    """Before the points; without them, or with "about", the paper rounds to whole points."""

    @property
    def least(self) -> float:
        return self.points if self.words == "more than " else self.points - 0.5


def measure(quote: Score | Lead, panels: Sequence[Panel]) -> dict[str, Any]:
    """What the paper says, and what was measured, in % and points; None where no run has that many labels."""
    panel = panels[quote.panel]
    return measure_score(quote, panel) if isinstance(quote, Score) else measure_lead(quote, panel)


def measure_score(quote: Score, panel: Panel) -> dict[str, Any]:
    """The mean over trials, and what it has more than the paper."""
    rows = {row["num_labeled"]: row for row in summarise(panel.histories[quote.series])}
    here = 100 * rows[quote.labels][panel.metric] if quote.labels in rows else None
    return {
        "what": f"{panel.metric} of {quote.series} at {quote.labels} labels" + _where(panel),
        "paper": quote.percent,
        "here": here,
        "difference": None if here is None else here - quote.percent,
    }


def measure_lead(quote: Lead, panel: Panel) -> dict[str, Any]:
    """The paired differences with their confidence intervals, and at how many numbers of labels the statement holds."""
    histories = panel.histories
    differences = differences_by_labels(histories[quote.series], histories[quote.baseline], panel.metric)
    if quote.labels is None:
        places = dict(list(differences.items())[1:])  # with the initial labels nothing has been chosen yet
    else:
        places = {quote.labels: differences[quote.labels]} if quote.labels in differences else {}
    at = "every number of labels" if quote.labels is None else f"{quote.labels} labels"
    return {
        "what": f"{panel.metric} of {quote.series} above {quote.baseline} at {at}" + _where(panel),
        "paper": f"{quote.words}{quote.points:g} points",
        "here": {str(labels): one.scaled(100.0)._asdict() for labels, one in places.items()} or None,
        "holds_at": f"{sum(100 * one.mean > quote.least for one in places.values())} of {len(places)}",
    }


def _where(panel: Panel) -> str:
    return f", {panel.title}" if panel.title else ""


def print_measured(measured: Sequence[Mapping[str, Any]]) -> None:
    """The paper's statements and the measured ones, a line each."""
    for one in measured:
        if one["here"] is None:
            print(f"{one['what']}: paper {one['paper']}; no run here has that many labels")
        elif isinstance(one["here"], Mapping):
            shown = ", ".join(f"{found['mean']:+.2f} at {labels}" for labels, found in one["here"].items())
            print(f"{one['what']}: paper {one['paper']}; here {shown}")
        else:
            print(f"{one['what']}: paper {one['paper']:.2f} %; here {one['here']:.2f} %")
