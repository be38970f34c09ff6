"""Which tiles to label: scores of uncertainty, a choice that differs, and `QUERIES`, which joins them under names.

All are functions of arrays that know nothing of networks, archives or runs.
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
    "select",
    "tpd_scores",
]
