"""The settings of a run; the defaults are the paper's for UC Merced."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from aljax.data.augmentation import Normalisation
from aljax.data.storage import TilesIn
from aljax.engines.scoring import Engine, Precision, check_engine
from aljax.errors import InputError
from aljax.queries.table import QUERIES, find_query
from aljax.training.recipe import Recipe

QueryName = Annotated[str, tyro.conf.arg(metavar="{" + ",".join(QUERIES) + "}|module:function")]

# Settings that say where files are and when they are written; they do not change the result of a run.
WHERE_AND_WHEN = (
    *("run_dir", "data_dir", "images", "features", "labels", "label_separator", "tiles_in", "cache_dir"),
    *("head", "width", "network"),  # the configuration describes the network itself
    "checkpoint_seconds",
    *("annotators", "overlap", "disagreement", "disputed_first", "go_on"),  # of annotation by several people
    # of annotation: they change its data, which are compared, or its pictures
    *("bands", "classes", "sheets", "test", "test_blocks", "threshold"),
)


# Settings that older versions lack, with the values that correspond to them; config.json leaves these values out.
LATER = {"first": "random", "l2": 0.01, "steps": 0, "cluster_by": "embeddings", "min_distance": 0.0, "candidates": 0}
LATER |= {"engine": "xla", "engine_precision": None}

LARGEST = 2**31 - 1
LARGEST_SEED = 2**32 - 1  # JAX would take larger seeds modulo 2**32
LARGEST_IMAGE = 8192  # height and width in pixels: as large as a tile may be
FEATURES = 1  # the size of "tiles" that are vectors of features


@dataclass(frozen=True)
class Settings:
    """One run: one query function, several trials."""

    run_dir: Path = Path("runs/run")  # folder for history, curve, summary, checkpoints; a run there is continued
    query: QueryName = "mge"  # what tells which tiles to label; module:function is one of your own
    first: Literal["random", "coverage"] = "random"  # tiles labelled at the start: by chance, or covering all
    clustering: bool = True  # choose diverse tiles by k-means++ among the most uncertain (not for random)
    cluster_by: Literal["embeddings", "directions"] = "embeddings"  # directions: embeddings divided by their norm
    start: Literal["cold", "warm"] = "warm"  # weights of an iteration: fresh, or those of the last one
    trials: int = 3  # repetitions with another initial labelled set (paper: 3)
    first_trial: int = 1  # number of the first of them; with --trials 1 processes can share the trials of a run
    initial: int = 40  # labelled tiles at the start (paper: 40 UC Merced, 1000 TreeSatAI)
    budget: int = 20  # b, tiles labelled per iteration (paper: 20 UC Merced, 1000 TreeSatAI)
    multiplier: int = 3  # m, candidates for the clustering per tile of the budget (paper: 3 UC Merced, 4 TreeSatAI)
    min_distance: float = 0.0  # metres, at least, between the outlines of tiles chosen at once; 0: they may touch
    candidates: int = 0  # score so many tiles without labels per iteration, drawn by chance, not all; 0: all
    max_labels: int = 400  # labelled tiles at which a trial ends
    patience: int = 0  # end a trial after so many iterations without a gain in validation micro F1; 0: never
    min_gain: float = 0.001  # smallest rise of the validation micro F1 that counts as a gain
    seed: int = 0  # of every random draw: split, initial sets, weights, batches, queries
    image_size: int = 256  # height and width in pixels to which tiles are resized (paper: 256 and 288)
    normalisation: Normalisation = "standardise"  # by mean and deviation of each band, or scale pixels from 0 to 1
    precision: Precision = "float32"  # of the convolutions; weights stay float32
    engine: Engine = "xla"  # what predicts: openvino is faster on CPUs, above all in bfloat16, and differs by rounding
    engine_precision: Precision | None = None  # of --engine openvino, in predictions alone; None: that of --precision
    deterministic: bool = False  # same bytes on every run on a GPU too, at a cost in speed (CPU and TPU: always)
    checkpoint_seconds: float = 60.0  # least time between checkpoints inside an iteration; its end is always saved
    init_weights: Path | None = None  # file of aljax convert-weights with weights to start from; None: random ones
    recipe: Recipe = field(default_factory=Recipe)  # training

    @property
    def has_batches(self) -> bool:
        """Whether training goes by batches; a head on features is fitted to all of them at once."""
        return self.image_size != FEATURES


@dataclass(frozen=True)
class ArchiveSettings(Settings):
    """A run on tiles that are read from files."""

    tiles_in: TilesIn = "auto"  # where decoded tiles are kept; auto: in memory if a quarter of it holds them, else disk
    cache_dir: Path | None = None  # folder of the cache (default: ~/.cache/aljax/tiles)


def check_ranges(settings: Settings) -> None:
    """Raises InputError for a value that no setting of its name can have, named as on the command line."""
    recipe = settings.recipe
    in_pairs = settings.query in QUERIES and QUERIES[settings.query].needs_loss_head
    for flag, value, least in (
        ("--trials", settings.trials, 1),
        ("--first-trial", settings.first_trial, 1),
        ("--initial", settings.initial, 1),
        ("--budget", settings.budget, 1),
        ("--multiplier", settings.multiplier, 1),
        ("--candidates", settings.candidates, 0),
        ("--patience", settings.patience, 0),
        ("--seed", settings.seed, 0),
        ("--image-size", settings.image_size, 1 if settings.image_size == FEATURES else 32),
        ("--epochs", recipe.epochs, 1),
        ("--steps", recipe.steps, 0),
        ("--batch-size", recipe.batch_size, 2 if in_pairs else 1),
    ):
        if value < least:
            raise InputError(f"{flag} is {value}: it must be at least {least}")
        most = {"--seed": LARGEST_SEED, "--image-size": LARGEST_IMAGE}.get(flag, LARGEST)
        if value > most:
            raise InputError(f"{flag} is {value}: it must be at most {most}")
    if not settings.checkpoint_seconds >= 0.0:
        raise InputError(f"--checkpoint-seconds is {settings.checkpoint_seconds}: it must be at least 0")
    if not 0.0 <= settings.min_distance < math.inf:
        raise InputError(f"--min-distance is {settings.min_distance}: it is a distance in metres, at least 0")
    if not recipe.learning_rate > 0.0:
        raise InputError(f"--learning-rate is {recipe.learning_rate}: it must be above 0")
    if not recipe.head_rate > 0.0:
        raise InputError(f"--head-rate is {recipe.head_rate}: it must be above 0")
    if not recipe.l2 >= 0.0:
        raise InputError(f"--l2 is {recipe.l2}: it must be at least 0")
    for flag, fraction in (("--decay-at", recipe.decay_at), ("--cut-at", recipe.cut_at)):
        if not 0.0 <= fraction <= 1.0:
            raise InputError(f"{flag} is {fraction}: it is a fraction of the epochs, from 0 to 1")


def check_settings(settings: Settings) -> None:
    """Raises InputError for a setting that can never work, named as on the command line."""
    find_query(settings.query)
    check_ranges(settings)
    check_engine(settings.engine, settings.engine_precision, on_features=not settings.has_batches)
    recipe = settings.recipe
    if recipe.batch_size > settings.initial and settings.has_batches:
        raise InputError(
            f"--batch-size {recipe.batch_size} is larger than the labelled set of --initial {settings.initial} tiles: "
            "lower the one or raise the other"
        )
    new = settings.budget if find_query(settings.query).needs_previous else 0
    times = settings.multiplier if settings.clustering else 1
    if 0 < settings.candidates < (least := times * settings.budget + new):
        reasons = f"{settings.budget} are chosen from {times} times as many"
        reasons += f", and {new} are new in each iteration, without a reference" if new else ""
        raise InputError(f"--candidates is {settings.candidates}: {reasons}: it must be at least {least}, or 0 for all")
    if settings.max_labels < settings.initial:
        raise InputError(f"--max-labels {settings.max_labels} is below --initial {settings.initial}: raise it")


def check_pool(settings: Settings, pool_size: int) -> None:
    """Raises InputError if the run asks for more labels than the pool has tiles."""
    if settings.max_labels > pool_size:
        raise InputError(
            f"--max-labels {settings.max_labels} asks for more labels than the pool has tiles ({pool_size}): lower it"
        )
