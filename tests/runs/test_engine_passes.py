"""Passes of a run by an engine: training stays with XLA, the engine is kept, and what it cannot do is told first."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from small_runs import KilledError, run, settings
from stand_in_engine import provide_engine
from tiny import make_archive, tiny_network

from aljax.annotation.labelling import Labelling, round_dir
from aljax.annotation.rounds import run_round
from aljax.data.archive import random_split
from aljax.engines import scoring
from aljax.errors import InputError, InputWarning
from aljax.loop import iterations, querying
from aljax.loop.settings import check_settings
from aljax.networks import Outputs
from aljax.runs.experiment import run_experiment
from aljax.runs.probabilities import read_probabilities
from aljax.runs.run_dir import read_history


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    provide_engine(monkeypatch)
    scoring._warn_of_float32.cache_clear()


class Own(nn.Module):
    """A network that aljax does not know."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train=False):
        embedding = images.mean((1, 2))
        return Outputs(nn.Dense(self.num_classes, name="head")(embedding), embedding, (images,))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("query", ["ll", "tpd", "mge", "bald", "coreset"])
def test_passes_are_the_engines_and_training_is_that_of_xla(query: str, tmp_path: Path, monkeypatch) -> None:
    chosen = settings(tmp_path / "xla", query=query, max_labels=12)
    run(chosen)
    by_engine, batches = replace(chosen, run_dir=tmp_path / "engine", engine="openvino"), []
    predict_batches = querying.predict_batches

    def watched(*arguments, compute):
        batches.append(compute is not None)
        return predict_batches(*arguments, compute=compute)

    monkeypatch.setattr(querying, "predict_batches", watched)
    run(by_engine)
    assert batches
    assert all(batches)
    found, wanted = (read_probabilities(one.run_dir, 1, 1) for one in (by_engine, chosen))
    np.testing.assert_allclose(found.test, wanted.test, atol=1e-5)
    assert (found.test != wanted.test).any()
    assert read_history(by_engine.run_dir)[0].selected == read_history(chosen.run_dir)[0].selected


@pytest.mark.usefixtures("engine")
def test_engine_is_kept_with_the_run_and_another_is_refused(tmp_path: Path) -> None:
    plain = settings(tmp_path / "plain", query="mge", max_labels=8)
    by_engine = replace(plain, run_dir=tmp_path / "engine", engine="openvino", engine_precision="bfloat16")
    run(plain)
    run(by_engine)
    for one, kept in ((plain, {}), (by_engine, {"engine": "openvino", "engine_precision": "bfloat16"})):
        config = json.loads((one.run_dir / "config.json").read_text())
        assert {name: value for name, value in config.items() if name.startswith("engine")} == kept
    run(by_engine)
    with pytest.raises(InputError, match='engine is null here and "openvino" there; engine_precision is null here'):
        run(replace(plain, run_dir=by_engine.run_dir))
    with pytest.raises(InputError, match='engine_precision is null here and "bfloat16" there'):
        run(replace(by_engine, engine_precision=None))
    with pytest.raises(InputError, match='engine is "openvino" here and null there'):
        run(replace(plain, engine="openvino"))


@pytest.mark.usefixtures("engine")
def test_round_of_annotation_goes_by_the_engine_and_says_why(tmp_path: Path, monkeypatch) -> None:
    archive, opened = make_archive(), []
    split, labelled = random_split(0, len(archive.ids), 10, 10), np.arange(40) < 8
    labelling = Labelling(archive, split, labelled, np.zeros(40, bool))
    open_engine = querying.open_engine

    def counted(*arguments):
        opened.append(arguments[0])
        return open_engine(*arguments)

    monkeypatch.setattr(querying, "open_engine", counted)
    chosen = settings(tmp_path / "rounds", query="mge", engine="openvino")
    state = run_round(chosen, labelling, tiny_network(), 1, Never())
    assert len(state.history[-1].selected) == 4
    assert opened == ["openvino"] * 2  # for the passes, and for the labelled tiles that the chosen ones are near to
    assert (round_dir(chosen.run_dir, 1) / "reasons.csv").exists()


class Never:
    def check(self) -> None: ...


def die(*arguments: object) -> None:
    raise KilledError


@pytest.mark.usefixtures("engine")
def test_processor_without_bfloat16_says_so_once_and_before_the_first_step(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "has_bfloat16", lambda core: False)
    chosen = settings(tmp_path / "run", engine="openvino", engine_precision="bfloat16")
    warns = pytest.warns(InputWarning, match="no instructions for bfloat16, which would be slower: float32 is computed")
    with monkeypatch.context() as patch:
        patch.setattr(iterations, "train", die)
        with warns, pytest.raises(KilledError):
            run(chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(chosen)


@pytest.mark.usefixtures("engine")
def test_networks_of_earlier_iterations_are_freed_several_at_once(tmp_path: Path, monkeypatch) -> None:
    held = []
    monkeypatch.setattr(scoring, "_held", [])
    monkeypatch.setattr(scoring, "FREED_AT_ONCE", 2)
    open_engine = querying.open_engine

    def counted(*arguments):
        compute = open_engine(*arguments)
        held.append(len(scoring._held))
        return compute

    monkeypatch.setattr(querying, "open_engine", counted)
    run(settings(tmp_path / "run", query="mge", max_labels=16, budget=2, engine="openvino"))
    assert held == [1, 2, 1, 2, 1]


@pytest.mark.usefixtures("engine")
def test_what_the_engine_cannot_do_is_told_before_a_run_begins(tmp_path: Path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="mge", engine="openvino")
    archive = make_archive()
    with pytest.raises(InputError, match="--engine openvino knows the networks of aljax, and Own is none: leave it"):
        run_experiment(chosen, archive, random_split(0, 60, 10, 10), Own(3))
    with monkeypatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 2)
        with pytest.raises(InputError, match=r"computes on one CPU, .* another device or several \(2 of cpu\): leave"):
            run(chosen)
    assert not chosen.run_dir.exists()


def test_options_of_a_run_that_do_not_go_together_are_reported(tmp_path: Path, monkeypatch) -> None:
    chosen = settings(tmp_path / "run", query="mge")
    with pytest.raises(InputError, match="--engine-precision is for --engine openvino"):
        check_settings(replace(chosen, engine_precision="bfloat16"))
    with pytest.raises(InputError, match="--engine openvino is for tiles, and a head on features takes no time"):
        check_settings(replace(chosen, image_size=1, engine="openvino"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"^--engine openvino needs more \(.*\): pip install 'aljax\[openvino\]'$"):
        check_settings(replace(chosen, engine="openvino"))
