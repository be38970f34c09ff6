"""Which tiles to label: scores of uncertainty, a choice that differs, and `QUERIES`, which joins them under names.

All are functions of arrays that know nothing of networks, archives or runs.
"""

from aljax.queries.kmeans import kmeans
from aljax.queries.scores import gradient_embeddings, ll_scores, mge_scores, tpd_scores
from aljax.queries.selection import select
from aljax.queries.shortlist import Shortlist
from aljax.queries.table import QUERIES, Candidates, Query, find_query

__all__ = [
    "QUERIES",
    "Candidates",
    "Query",
    "Shortlist",
    "find_query",
    "gradient_embeddings",
    "kmeans",
    "ll_scores",
    "mge_scores",
    "select",
    "tpd_scores",
]
