"""Deep active learning for multi-label classification of remote-sensing tiles, in JAX.

Reimplements Möllenbrok, Sumbul and Demir, "Deep Active Learning for Multi-Label Classification of Remote
Sensing Images". What is here are the models and the pure functions for use in other code; the archives,
the loop and its checkpoints are in the submodules.
"""

from aljax.densenet import DenseNet, DenseNet121
from aljax.kmeans import kmeans
from aljax.loss_head import LossHead
from aljax.losses import bce_loss, ranking_loss
from aljax.scores import gradient_embeddings, ll_scores, mge_scores, tpd_scores
from aljax.selection import select
from aljax.version import __version__

__all__ = [
    "DenseNet",
    "DenseNet121",
    "LossHead",
    "__version__",
    "bce_loss",
    "gradient_embeddings",
    "kmeans",
    "ll_scores",
    "mge_scores",
    "ranking_loss",
    "select",
    "tpd_scores",
]
