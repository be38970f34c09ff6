"""On several devices a run computes what it computes on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import SUPPORT

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import jax
import numpy as np
from tiny import make_archive, tiny_network
from aljax.data.archive import split_tiles, random_split
from aljax.training.fitting import begin_fit, fit
from aljax.networks.model import Model, init_variables
from aljax.training.prediction import predict_batches
from aljax.training.recipe import Recipe

out, resident, trained_at_once, predicted_at_once = sys.argv[2], sys.argv[3] == "True", *map(int, sys.argv[4:])
archive, model = make_archive(), Model(tiny_network())
pool = split_tiles(archive, random_split(0, 60, 10, 10), 0, resident).pool
recipe = Recipe(epochs=2, batch_size=trained_at_once, learning_rate=0.05)
start = begin_fit(recipe, init_variables(jax.random.key(0), model, 32, 3))
trained = fit(model, recipe, start, pool, np.arange(40) < 24, jax.random.key)
results = {"trained": np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(trained)])}
for rows, predictions in predict_batches(model, trained, pool, np.arange(40), predicted_at_once):
    results["devices"] = predictions.embeddings.sharding.num_devices
    results[f"probabilities {rows[0]}"] = np.asarray(predictions.probabilities)
np.savez(out, **results)
"""


def run(script: str, devices: int, arguments: tuple[object, ...]) -> str:
    """What a script prints that finds so many devices, and the folder of `tiny` as its first argument."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, str(SUPPORT), *map(str, arguments)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def results(file: Path, devices: int, arguments: tuple[object, ...]) -> dict[str, np.ndarray]:
    run(SCRIPT, devices, (file, *arguments))
    with np.load(file) as content:
        return dict(content)


# Eight devices divide eight tiles and not six.
@pytest.mark.parametrize("arguments", [(False, 6, 8), (True, 8, 6)])
def test_eight_devices_train_and_predict_as_one_does(arguments, tmp_path: Path) -> None:
    one, eight = (results(tmp_path / f"{devices}.npz", devices, arguments) for devices in (1, 8))
    assert (one.pop("devices"), eight.pop("devices")) == (1, 8)
    assert one.keys() == eight.keys()
    for name in one:
        # Steps at a high rate multiply what rounding makes different.
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-3, atol=1e-4, err_msg=name)


WHOLE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from small_runs import run, run_until_save, settings
from aljax.training.prediction import predict_batch
from aljax.training.steps import train_on_batch
import pytest

chosen = settings(Path(sys.argv[2]), max_labels=12)
run_until_save(chosen, 3, pytest.MonkeyPatch())
run(chosen)  # from inside of the first iteration, and with a warm start of the second
print(train_on_batch.jitted()._cache_size(), predict_batch.jitted()._cache_size())
"""


def test_on_eight_devices_nothing_compiles_twice_either(tmp_path) -> None:
    assert run(WHOLE, 8, (tmp_path,)).split() == ["1", "1"]


SENT = """
import re, sys
sys.path.insert(0, sys.argv[1])
import jax
import numpy as np
from tiny import SIZE, make_archive, tiny_network
from aljax.data.archive import split_tiles, random_split
from aljax.xla.devices import shard_batch
from aljax.training.fitting import begin_fit, make_epoch
from aljax.networks.model import Model, init_variables
from aljax.training.recipe import Recipe
from aljax.training.steps import Batch, train_on_batch

archive, model, recipe = make_archive(), Model(tiny_network()), Recipe()
start = begin_fit(recipe, init_variables(jax.random.key(0), model, SIZE, 3))
statistics = split_tiles(archive, random_split(0, 60, 10, 10), 0).pool.statistics
for batch in (6, 8):
    tiles = shard_batch(Batch(archive.images[:batch], archive.labels[:batch]), batch)
    epoch, step = make_epoch(recipe, 0, jax.random.key(1)), np.asarray(0, np.int32)
    lowered = train_on_batch.jitted().lower(model, recipe, start.state, start.sums, tiles, statistics, epoch, step)
    program = lowered.compile().as_text()
    assert "all-reduce" in program
    print(batch, sorted(set(re.findall("all-gather|all-to-all|collective-permute", program))))
"""


def test_eight_devices_add_up_sums_and_send_each_other_no_maps() -> None:
    assert run(SENT, 8, ()).splitlines() == ["6 []", "8 []"]
