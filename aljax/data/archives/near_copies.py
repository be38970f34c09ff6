"""Held-out tiles that are nearly the same as tiles that are trained on, by their features or their pixels.

What is told is never moved: whether two tiles are one scene, a person decides.
"""

import warnings

import numpy as np
from jaxtyping import Float, Int

from aljax.data.archive import Archive
from aljax.data.tiles.images import EncodedImages, Tolerant, stream
from aljax.data.tiles.resizing import shrink
from aljax.errors import InputWarning

# Cosine of two descriptions from which tiles are nearly the same. On UC Merced a tile and itself after JPEG of quality
# 50, resizing, noise, brighter or moved by a pixel have 0.99 in 94 to 100 of 100 cases. Of its 2.2 million pairs three
# have as much: its one copy, and two pairs that show a strip of one beach. By features of MobileNet there are two, the
# copy and two parts of one field.
ALIKE = 0.99
SIDE, BANDS = 16, 4  # of the thumbnails that are compared
LEAST_FEATURES = 64  # in fewer, different tiles have such a cosine by chance
PRODUCTS_AT_ONCE = 2**24
SHOWN = 3  # pairs that a message names


def warn_of_near_copies(archive: Archive, learnt: Int[np.ndarray, " m"], held: Int[np.ndarray, " h"]) -> None:
    """Warns of tiles to learn from that are nearly the same as tiles `held` out, each with the most similar of these.

    Copies, as in `Archive.copy_of`, are told elsewhere. All of these tiles are read; unreadable ones are like no other.
    """
    are_features = archive.images.shape[1:3] == (1, 1)
    if not len(learnt) or not len(held) or (are_features and archive.images.shape[-1] < LEAST_FEATURES):
        return
    described = _features(archive, np.append(learnt, held)) if are_features else _thumbnails(archive, learnt, held)
    cosines, nearest = most_alike(described[: len(learnt)], described[len(learnt) :])
    others = held[nearest]
    alike = cosines >= ALIKE
    if archive.copy_of is not None:
        alike &= archive.copy_of[learnt] != archive.copy_of[others]
    found = np.flatnonzero(alike)[np.argsort(-cosines[alike], kind="stable")]
    if len(found):
        pairs = [f"{archive.ids[learnt[one]]} and {archive.ids[others[one]]}" for one in found[:SHOWN].tolist()]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        message = (
            f"{len(found)} tiles to learn from have nearly the {'features' if are_features else 'pixels'} of test or "
            f"validation tiles ({', '.join(pairs)}{more}): where both show one scene, scores flatter; move one away"
        )
        warnings.warn(InputWarning(message), stacklevel=2)


def most_alike(
    some: Float[np.ndarray, "m d"], others: Float[np.ndarray, "h d"]
) -> tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """For each of some unit vectors the largest cosine to one of the others, and the index of that."""
    at_once = max(1, PRODUCTS_AT_ONCE // len(others))
    nearest, cosines = np.empty(len(some), int), np.empty(len(some), np.float32)
    for start in range(0, len(some), at_once):
        products = some[start : start + at_once] @ others.T
        nearest[start : start + at_once] = products.argmax(1)
        cosines[start : start + at_once] = products.max(1)
    return cosines, nearest


def _features(archive: Archive, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    vectors = np.concatenate([*stream(archive.images, rows, 1)]).reshape(len(rows), -1).astype(np.float32)
    return _unit(vectors - vectors.mean(0))


def _thumbnails(
    archive: Archive, learnt: Int[np.ndarray, " m"], held: Int[np.ndarray, " h"]
) -> Float[np.ndarray, "n d"]:
    """The tiles as small pictures, without the mean of each band, so that brightness does not count."""
    images = Tolerant(archive.images) if isinstance(archive.images, EncodedImages) else archive.images
    small = [shrink(tile[..., :BANDS], SIDE) for (tile,) in stream(images, np.append(learnt, held), 1)]
    thumbnails = np.array(small, np.float32)
    return _unit((thumbnails - thumbnails.mean((1, 2), keepdims=True)).reshape(len(small), -1))


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0.0, lengths, 1.0)
