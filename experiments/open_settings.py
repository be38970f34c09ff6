"""What the settings do that the paper leaves open: one training each, one setting changed at a time, on UC Merced.

    python -m experiments.open_settings --ucmerced-dir data/ucmerced
    python -m experiments.open_settings --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

Every network trains once on the same randomly drawn tiles, --labels of them in each trial; nothing is selected. So a
difference is that of the training, trial by trial. Two questions: what momentum, weight decay, the normalisation of
pixels and, with --init-weights, a start from other than random weights do to the network F; and what training the
loss head F_L costs F, by the weight lambda of its loss, its own learning rate, and how long its gradient reaches F.
Choose by the validation scores; the test scores are there to be reported. Trainings are kept in --run-dir as the runs
of the figures are, and a command that was stopped goes on when it is repeated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.reports.comparison import Difference, paired_difference
from aljax.reports.curves import draw_differences
from aljax.runs.run_dir import FinishedRun
from aljax.system.files import disk_errors, write_atomically
from experiments.figure_report import check_data, warn_of_others
from experiments.figures import OnUCMerced, change, common_settings, describe_changed, finish_runs, folder_of
from experiments.run_names import PlannedRun
from experiments.scales import SCRIPTS


@dataclass(frozen=True)
class StudySettings(OnUCMerced):
    """Settings of the study."""

    trials: int = 6  # trainings of each kind, with other tiles
    labels: int = 120  # labelled tiles of each training
    max_labels: tyro.conf.Suppress[int | None] = None  # here: `labels`
    init_weights: Path | None = None  # file of aljax convert-weights that one more training of F starts from


# What is changed, by the name of the training. All are compared with the first.
ALONE = "F alone"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    ALONE: {"query": "random"},
    "F alone, momentum 0": {"query": "random", "momentum": 0.0},
    "F alone, weight decay 0": {"query": "random", "weight_decay": 0.0},
    "F alone, pixels from 0 to 1": {"query": "random", "normalisation": "scale"},
    "F with F_L": {"query": "ll"},
    "F with F_L, lambda 0.1": {"query": "ll", "ranking_weight": 0.1},
    "F with F_L, lambda 0.01": {"query": "ll", "ranking_weight": 0.01},
    "F with F_L, F_L's rate 0.04 times F's": {"query": "ll", "head_rate": 0.04},
    "F with F_L, gradient cut from the start": {"query": "ll", "cut_at": 0.0},
}
SCORES = {"validation_micro_f1": "validation", "micro_f1": "test"}


class Measured(NamedTuple):
    """A training's mean over trials, and what it has more than `ALONE` in the same trials."""

    mean: float
    difference: Difference


def variants(settings: StudySettings) -> dict[str, Mapping[str, Any]]:
    """Those of all studies, and one that starts from --init-weights where they are given."""
    start = settings.init_weights
    if start is None:
        return dict(VARIANTS)
    return {**VARIANTS, f"F alone, from {start.stem}": {"query": "random", "init_weights": start}}


def plan(settings: StudySettings) -> dict[str, PlannedRun]:
    """The run of each variant, with all its trials."""
    sizes = {"trials": settings.trials, "initial": settings.labels, "max_labels": settings.labels}
    base = change(common_settings(replace(settings, init_weights=None), "UC Merced"), sizes)
    return {
        name: PlannedRun(SCRIPTS["UC Merced"], change(base, changes)) for name, changes in variants(settings).items()
    }


def measure(finished: Mapping[str, FinishedRun]) -> dict[str, dict[str, Measured]]:
    """Of each training, by name, each score, by name."""
    return {
        name: {score: compare(by_trial(run, score), by_trial(finished[ALONE], score)) for score in SCORES}
        for name, run in finished.items()
    }


def compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> Measured:
    """Scores by trial with those of the same trials."""
    difference = paired_difference(values, baseline)
    assert difference is not None  # all trainings have the same trials
    return Measured(sum(values.values()) / len(values), difference)


def by_trial(run: FinishedRun, score: str) -> dict[int, float]:
    """The score of each trial's training."""
    return {record.trial: getattr(record, score) for record in run.history}


def as_markdown(measured: Mapping[str, Mapping[str, Measured]]) -> str:
    """A row per training: its scores, in %, with the differences and their intervals in points."""
    heads = [f"{words} micro F1 | against {ALONE}" for words in SCORES.values()]
    lines = [f"| training | {' | '.join(heads)} |", "|---" * (1 + 2 * len(SCORES)) + "|"]
    for name, scores in measured.items():
        cells = [
            f"{100 * one.mean:.1f} | {'' if name == ALONE else one.difference.in_points(1)}" for one in scores.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _name(path: Path) -> str:
    return path.name


def main() -> None:
    """Makes the trainings that are missing, then writes table, picture and summary."""
    settings = read_options(StudySettings, "python -m experiments.open_settings", __doc__)
    if settings.labels < 10:
        raise InputError(f"--labels is {settings.labels}: it must be at least 10, a batch")
    planned = plan(settings)
    finished = finish_runs(list(planned.values()), settings)
    if finished is None:
        return
    trainings = {name: finished[run.run_dir] for name, run in planned.items()}
    check_data({("UC Merced", name): [run] for name, run in trainings.items()})
    measured = measure(trainings)
    sizes = planned[ALONE].settings
    title = (
        f"What the settings that the paper leaves open do: UC Merced, {sizes.image_size} px, "
        f"{sizes.recipe.epochs} epochs, {settings.labels} random tiles, {settings.trials} trials"
    )
    if changed := describe_changed(replace(settings, init_weights=None)):
        title += f"\n{changed}, where nothing else is said"
    text = as_markdown(measured)
    summary: dict[str, Any] = {
        "title": title,
        "compared_with": ALONE,
        "trainings": {
            name: {
                "changes": variants(settings)[name],
                "run": planned[name].name,
                "scores": {
                    score: {"mean": one.mean, "difference": one.difference._asdict()} for score, one in scores.items()
                },
            }
            for name, scores in measured.items()
        },
        "runs": sorted(run.name for run in planned.values()),
    }
    shown = {
        name: {SCORES[score]: one.difference for score, one in scores.items()}
        for name, scores in measured.items()
        if name != ALONE
    }
    sizes_changed = settings.changed_sizes
    if settings.labels != StudySettings.labels:
        sizes_changed |= {"max_labels": settings.labels}
    folder = folder_of(settings.run_dir, "open-settings", settings.scale, sizes_changed)
    warn_of_others(folder / "summary.json", summary["runs"])
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "table.md", text)
        write_atomically(folder / "summary.json", json.dumps(summary, indent=2, default=_name) + "\n")
        draw_differences(folder / "differences.png", shown, f"Micro F1 against {ALONE} (points)", title)
    print(f"{text}\npicture: {folder / 'differences.png'}")


if __name__ == "__main__":
    command(main)
