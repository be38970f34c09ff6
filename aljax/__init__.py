"""Deep active learning for multi-label classification of remote-sensing tiles, in JAX.

Reimplements Möllenbrok, Sumbul and Demir, "Deep Active Learning for Multi-Label Classification of Remote
Sensing Images". What is here are the models and the pure functions for use in other code; the archives,
the loop and its checkpoints are in the submodules. `load` opens what a run has learnt.
"""

from typing import TYPE_CHECKING, Any

from aljax.arrays import UNKNOWN
from aljax.loop.metrics import Metrics, evaluate
from aljax.networks.densenet import DenseNet, DenseNet121, Outputs
from aljax.networks.loss_head import LossHead
from aljax.networks.losses import bce_loss, random_pairs, ranking_loss
from aljax.queries.kmeans import kmeans
from aljax.queries.scores import gradient_embeddings, ll_scores, mge_scores, tpd_scores
from aljax.queries.selection import select
from aljax.queries.shortlist import Shortlist
from aljax.version import __version__

if TYPE_CHECKING:
    from aljax.commands.annotate.session import Session
    from aljax.runs.inference import Classifier, load

__all__ = [
    "UNKNOWN",
    "Classifier",
    "DenseNet",
    "DenseNet121",
    "LossHead",
    "Metrics",
    "Outputs",
    "Session",
    "Shortlist",
    "__version__",
    "bce_loss",
    "evaluate",
    "gradient_embeddings",
    "kmeans",
    "ll_scores",
    "load",
    "mge_scores",
    "random_pairs",
    "ranking_loss",
    "select",
    "tpd_scores",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Opening a run needs what reads tiles; the pure functions do not, and come without it.
    if name in ("Classifier", "load"):
        from aljax.runs import inference

        return getattr(inference, name)
    if name == "Session":
        from aljax.commands.annotate.session import Session

        return Session
    raise AttributeError(f"module 'aljax' has no attribute {name!r}")
