"""Networks as linen modules, and the losses that train them: DenseNet, the loss head F_L, and both as one `Model`.

A network gives `Outputs`: logits, the embedding before its last layer (called `head`), and maps for the loss head.
"""

from aljax.networks.densenet import DenseNet, DenseNet121, Outputs
from aljax.networks.loss_head import LossHead
from aljax.networks.losses import bce_loss, random_pairs, ranking_loss
from aljax.networks.model import Model

__all__ = ["DenseNet", "DenseNet121", "LossHead", "Model", "Outputs", "bce_loss", "random_pairs", "ranking_loss"]
