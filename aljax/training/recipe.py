"""The hyperparameters of a fit, its schedule and its optimisers."""

from dataclasses import dataclass, replace

import jax
import optax
from jaxtyping import PyTree


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a fit. Defaults are the paper's for UC Merced; those that it does not give are marked."""

    epochs: int = 100  # passes over the labelled tiles per iteration (paper: 100 UC Merced, 200 TreeSatAI)
    steps: int = 0  # training steps per iteration in place of epochs, however many tiles are labelled; 0: epochs
    batch_size: int = 10  # tiles per step (paper: 10 UC Merced, 100 TreeSatAI)
    learning_rate: float = 0.025  # initial rate of both optimisers (paper: 0.025 UC Merced, 0.01 TreeSatAI)
    decay_at: float = 0.8  # fraction of the epochs after which the rate is multiplied by 0.1 (paper: 80 of 100)
    momentum: float = 0.0  # of SGD (not in the paper; 0.9 scored less, experiments/results/open-settings)
    weight_decay: float = 5e-4  # on the kernels of F (not in the paper)
    ranking_weight: float = 0.1  # lambda of eq. 3 (not in the paper; 1 scored less, the same study)
    ranking_margin: float = 1.0  # xi of eq. 2 (paper: 1)
    head_rate: float = 1.0  # learning rate of F_L as a multiple of F's (paper: 1)
    cut_at: float = 0.6  # fraction of the epochs after which F_L no longer trains F (paper: 60 of 100)
    l2: float = 0.01  # L2 penalty on the kernels of a head on features; 0: the best of four on the validation tiles


def compiled_part(recipe: Recipe) -> Recipe:
    """The recipe with defaults in place of all that no compiled step reads, so that equal steps share programs."""
    names = ("momentum", "weight_decay", "ranking_weight", "ranking_margin", "head_rate")
    return Recipe(**{name: getattr(recipe, name) for name in names})


def for_labelled(recipe: Recipe, num_labelled: int) -> Recipe:
    """The recipe with the epochs over `num_labelled` tiles that come closest to its `steps`, if it has any."""
    if not recipe.steps:
        return recipe
    per_epoch = num_labelled // min(recipe.batch_size, num_labelled)
    return replace(recipe, epochs=max(1, round(recipe.steps / per_epoch)))


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """SGD for F, Adam for F_L; their updates are still to be multiplied by minus the learning rate."""

    def kernels(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    sgd = optax.chain(optax.add_decayed_weights(recipe.weight_decay, mask=kernels), optax.trace(recipe.momentum))
    adam = optax.chain(optax.scale_by_adam(), optax.scale(recipe.head_rate))
    return optax.partition({"network": sgd, "loss_head": adam}, _part_labels)


def _part_labels(params: dict[str, PyTree]) -> dict[str, PyTree]:
    return {part: jax.tree.map(lambda _, name=part: name, tree) for part, tree in params.items()}


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The rate in `epoch`, which counts from 0: the initial one, and a tenth of it after `decay_at` of the epochs."""
    return recipe.learning_rate * (0.1 if epoch >= round(recipe.decay_at * recipe.epochs) else 1.0)
