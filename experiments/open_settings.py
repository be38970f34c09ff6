"""The effect of settings that the paper leaves open, on UC Merced: one training per setting, one setting changed.

    python -m experiments.open_settings --ucmerced-dir data/ucmerced
    python -m experiments.open_settings --ucmerced-dir data/ucmerced --scale small    # for two CPU cores

In each trial all networks train once on the same --labels random tiles; no tiles are selected. So differences within a
trial are those of the training. Two questions: how momentum, weight decay, the normalisation of pixels and, with
--init-weights, published weights change the network F; and how much F loses by training the loss head F_L with it,
depending on the weight lambda of its loss, its learning rate, and how long its gradient reaches F, and how well F_L
then orders tiles by their loss. Choose by the validation scores; the test scores are for reporting. Trainings are kept
in --run-dir like the runs of the figures. A command that was stopped goes on when it is repeated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from aljax.commands.options import read_options
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.reports.comparison import Difference, differences_by_labels
from aljax.reports.curves import draw_differences
from aljax.runs.run_dir import FinishedRun
from aljax.system.files import disk_errors, make_folder, write_atomically
from aljax.training.recipe import for_labelled
from experiments.figure_report import warn_of_replaced
from experiments.figures import OnUCMerced, describe_changed, finish_runs, folder_of, plan


@dataclass(frozen=True)
class StudySettings(OnUCMerced):
    """Settings of the study."""

    trials: int = 6  # trainings of each kind, with other tiles
    labels: int = 120  # labelled tiles of each training
    max_labels: tyro.conf.Suppress[int | None] = None  # here: `labels`
    init_weights: Path | None = None  # file of aljax convert-weights that one more training of F starts from


# The changed settings of each training, by its name. All are compared with the first.
ALONE = "F alone"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    ALONE: {"query": "random"},
    "F alone, momentum 0.9": {"query": "random", "momentum": 0.9},
    "F alone, weight decay 0": {"query": "random", "weight_decay": 0.0},
    "F alone, pixels from 0 to 1": {"query": "random", "normalisation": "scale"},
    "F with F_L": {"query": "ll"},
    "F with F_L, lambda 1": {"query": "ll", "ranking_weight": 1.0},
    "F with F_L, lambda 0.01": {"query": "ll", "ranking_weight": 0.01},
    "F with F_L, lambda 1, momentum 0.9": {"query": "ll", "ranking_weight": 1.0, "momentum": 0.9},
    "F with F_L, F_L's rate 0.04 times F's": {"query": "ll", "head_rate": 0.04},
    "F with F_L, gradient cut from the start": {"query": "ll", "cut_at": 0.0},
    "F with F_L, gradient never cut": {"query": "ll", "cut_at": 1.0},
}
# What is compared, and what of it is in the picture.
SCORES = {
    "validation_micro_f1": "validation micro F1",
    "micro_f1": "test micro F1",
    "micro_f1_at_validation_threshold": "test micro F1, fitted threshold",
    "macro_f1": "test macro F1",
    "mean_average_precision": "test mAP",
}
SHOWN = ("validation_micro_f1", "micro_f1")
ORDER = "rank correlation of F_L's losses"


def measure(runs: Mapping[str, FinishedRun]) -> tuple[dict[str, Any], dict[str, dict[str, Difference]], str]:
    """The scores of each training and their paired differences from `ALONE`: as JSON, for the picture, as Markdown.

    The last column is Spearman's rank correlation of the losses that F_L predicts with the true ones, on the validation
    tiles: how well LL could rank tiles that nobody has labelled.
    """
    lines = [f"| (points) | {' | '.join(SCORES.values())} | {ORDER} |", "|---" * (2 + len(SCORES)) + "|"]
    scores: dict[str, Any] = {}
    shown: dict[str, dict[str, Difference]] = {}
    for name, run in runs.items():
        scores[name], shown[name], cells = {}, {}, []
        for score, words in SCORES.items():
            mean = sum(getattr(record, score) for record in run.history) / len(run.history)
            # All trainings have one and the same number of labels.
            (difference,) = differences_by_labels(run.history, runs[ALONE].history, score).values()
            scores[name][score] = {"mean": mean, "difference": difference._asdict()}
            if score in SHOWN:
                shown[name][words] = difference
            cells.append(f"{100 * mean:.1f}" if name == ALONE else difference.in_points(1))
        orders = [one for record in run.history if (one := record.loss_rank_correlation) is not None]
        scores[name]["loss_rank_correlation"] = sum(orders) / len(orders) if orders else None
        cells.append(f"{sum(orders) / len(orders):.2f}" if orders else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    del shown[ALONE]
    return scores, shown, "\n".join(lines) + "\n"


def main() -> None:
    """Makes the trainings that are missing, then writes table, picture and summary."""
    settings = read_options(StudySettings, "python -m experiments.open_settings", __doc__)
    if settings.labels < 10:
        raise InputError(f"--labels is {settings.labels}: it must be at least 10, a batch")
    variants = dict(VARIANTS)
    if start := settings.init_weights:
        variants[f"F alone, from {start.stem}"] = {"query": "random", "init_weights": start}
    common = replace(settings, init_weights=None)  # only the last variant starts from them
    sizes = {"trials": settings.trials, "initial": settings.labels, "max_labels": settings.labels}
    planned = {name: plan(common, "UC Merced", {**sizes, **changes}) for name, changes in variants.items()}
    finished = finish_runs(planned.values(), settings)
    if finished is None:
        return
    runs = {name: finished[run.run_dir] for name, run in planned.items()}
    scores, shown, text = measure(runs)
    chosen = planned[ALONE].settings
    title = (
        f"What the settings that the paper leaves open do: UC Merced, {chosen.image_size} px, "
        f"{for_labelled(chosen.recipe, settings.labels).epochs} epochs, {settings.labels} random tiles, "
        f"{settings.trials} trials"
    )
    if changed := describe_changed(chosen):
        title += f"\n{changed}, where nothing else is said"
    summary: dict[str, Any] = {
        "title": title,
        "compared_with": ALONE,
        "trainings": {
            name: {"changes": changes, "run": planned[name].name, "scores": scores[name]}
            for name, changes in variants.items()
        },
        "runs": sorted(run.name for run in planned.values()),
    }
    own_sizes = {} if settings.labels == StudySettings.labels else {"max_labels": settings.labels}
    folder = folder_of(settings.run_dir, "open-settings", settings.scale, **settings.changed_sizes | own_sizes)
    warn_of_replaced(folder, summary["runs"])
    make_folder(folder)
    with disk_errors(folder):
        write_atomically(folder / "table.md", text)
        as_json = json.dumps(summary, indent=2, default=lambda path: path.name)  # of the weights
        write_atomically(folder / "summary.json", as_json + "\n")
        draw_differences(folder / "differences.png", shown, f"Micro F1 against {ALONE} (points)", title)
    print(f"{text}\npicture: {folder / 'differences.png'}")


if __name__ == "__main__":
    command(main)
