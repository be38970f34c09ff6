"""Which tiles to label: uncertainty scores, diverse selection, and `QUERIES`, which combines the two by name.

All are functions of arrays; they need no network, archive or run.
"""

from aljax.queries.diversity import badge, coreset, coverage
from aljax.queries.kmeans import kmeans
from aljax.queries.scores import (
    bald_scores,
    entropy_scores,
    gradient_embeddings,
    least_confidence_scores,
    ll_scores,
    margin_scores,
    mge_scores,
    pseudo_residuals,
    rarity_scores,
    residual_scores,
    tpd_scores,
)
from aljax.queries.selection import select
from aljax.queries.shortlist import Shortlist
from aljax.queries.table import QUERIES, Candidates, Query, find_query

__all__ = [
    "QUERIES",
    "Candidates",
    "Query",
    "Shortlist",
    "badge",
    "bald_scores",
    "coreset",
    "coverage",
    "entropy_scores",
    "find_query",
    "gradient_embeddings",
    "kmeans",
    "least_confidence_scores",
    "ll_scores",
    "margin_scores",
    "mge_scores",
    "pseudo_residuals",
    "rarity_scores",
    "residual_scores",
    "select",
    "tpd_scores",
]
