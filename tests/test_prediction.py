"""Prediction: rows do not depend on batching, order or padding."""

import jax
import numpy as np
import pytest

from aljax import prediction
from aljax.data.archive import SplitTiles
from aljax.model import Model, init_variables
from aljax.prediction import predict


@pytest.fixture(scope="module")
def variables(ll_model: Model):
    return init_variables(jax.random.key(0), ll_model, 32, 3)


def test_rows_do_not_depend_on_the_batch_size(ll_model, variables, tiles: SplitTiles) -> None:
    whole = predict(ll_model, variables, tiles.pool, batch_size=40)
    for batch_size in (7, 64):
        for a, b in zip(whole, predict(ll_model, variables, tiles.pool, batch_size=batch_size), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_only_the_tiles_asked_for_are_predicted(ll_model, variables, tiles: SplitTiles) -> None:
    whole = predict(ll_model, variables, tiles.pool)
    rows = np.array([31, 2, 17])
    for a, b in zip(predict(ll_model, variables, tiles.pool, rows), whole, strict=True):
        np.testing.assert_allclose(a[rows], b[rows], rtol=1e-5)
        assert np.isnan(np.delete(a, rows, axis=0)).all()


def test_nothing_recompiles_while_the_pool_shrinks(ll_model, variables, tiles: SplitTiles, traces) -> None:
    traces(prediction._predict_batch)
    for count in (40, 33, 5):
        predict(ll_model, variables, tiles.pool, np.arange(count), batch_size=9)
    assert traces(prediction._predict_batch) == 1


def test_predicted_losses_are_there_only_with_a_loss_head(model, ll_model, variables, tiles: SplitTiles) -> None:
    plain = init_variables(jax.random.key(0), model, 32, 3)
    assert predict(model, plain, tiles.test).predicted_losses is None
    assert predict(ll_model, variables, tiles.test).predicted_losses.shape == (10,)


def test_no_tiles_are_refused(model, variables, tiles: SplitTiles) -> None:
    with pytest.raises(ValueError, match="empty"):
        predict(model, variables, tiles.pool, np.array([], dtype=np.int64))
