"""A head on features: the minimum that scikit-learn finds, one program a run, and runs that go on to the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from run_command import run as run_command
from sklearn.linear_model import LogisticRegression
from small_runs import KilledError

import aljax
from aljax.commands import run as run_archive
from aljax.data.archive import Archive, Tiles, random_split, split_tiles
from aljax.errors import DivergedError
from aljax.loop.settings import Settings
from aljax.networks.head import Head, unit_features
from aljax.networks.model import Model, init_variables
from aljax.runs.experiment import run_experiment
from aljax.runs.run_dir import RunStore
from aljax.training import head_fitting
from aljax.training.fitting import begin_fit, fit
from aljax.training.head_fitting import minimise
from aljax.training.prediction import predict_probabilities
from aljax.training.recipe import Recipe
from tools.run_contents import contents, differences

TILES, FEATURES, CLASSES = 120, 12, 3


def make_features(count: int = TILES, seed: int = 0) -> Archive:
    """Features in which each class has a direction; noise beside it."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, CLASSES)) < 0.4).astype(np.uint8)
    vectors = rng.normal(size=(count, FEATURES)) + 1.5 * labels @ rng.normal(size=(CLASSES, FEATURES))
    ids = tuple(f"tile{index:03d}" for index in range(count))
    names = tuple(f"class{index}" for index in range(CLASSES))
    return Archive("features", vectors.astype(np.float32)[:, None, None], labels, ids, names)


def settings(run_dir: Path, **changes) -> Settings:
    base = Settings(run_dir=run_dir, query="mge", trials=2, initial=8, budget=4, max_labels=16, image_size=1)
    return replace(base, recipe=Recipe(batch_size=2), **changes)


def run(chosen: Settings, network: Head | None = None) -> None:
    archive = make_features()
    run_experiment(chosen, archive, random_split(0, TILES, 20, 20), network or Head(CLASSES))


@pytest.fixture(scope="module")
def pool() -> Tiles:
    return split_tiles(make_features(), random_split(0, TILES, 20, 20), 0).pool


def fitted(pool: Tiles, recipe: Recipe, count: int = 60, width: int = 0, **given):
    model = Model(Head(CLASSES, width))
    start = begin_fit(recipe, init_variables(jax.random.key(0), model, 1, FEATURES))
    labelled = np.arange(pool.num_tiles) < count
    return model, fit(model, recipe, start, pool, labelled, lambda epoch: jax.random.key(epoch), **given)


@pytest.mark.parametrize("l2", [0.3, 0.01])
def test_linear_head_is_scikit_learns_logistic_regression(l2: float, pool: Tiles) -> None:
    _, variables = fitted(pool, Recipe(l2=l2))
    head = variables["params"]["network"]["head"]
    inputs = np.asarray(unit_features(pool.read(np.arange(60)) - pool.statistics.mean)).reshape(60, -1)
    for column in range(CLASSES):
        yardstick = LogisticRegression(C=1.0 / (l2 * 60), tol=1e-8, max_iter=1000)
        yardstick.fit(inputs, pool.labels[:60, column])
        np.testing.assert_allclose(head["kernel"][:, column], yardstick.coef_[0], atol=0.03)
        np.testing.assert_allclose(head["bias"][column], yardstick.intercept_[0], atol=0.06)


def test_a_hidden_layer_fits_what_a_linear_head_cannot() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 4)).astype(np.float32)
    labels = (vectors[:, :1] * vectors[:, 1:2] > 0).astype(np.uint8)
    archive = Archive("xor", vectors[:, None, None], labels, tuple(map(str, range(200))), ("same sign",))
    tiles = split_tiles(archive, random_split(0, 200, 20, 60), 0)
    scores = []
    for width in (0, 64):
        model = Model(Head(1, width))
        start = begin_fit(Recipe(), init_variables(jax.random.key(0), model, 1, 4))
        labelled = np.ones(tiles.pool.num_tiles, bool)
        variables = fit(model, Recipe(l2=1e-3), start, tiles.pool, labelled, lambda epoch: jax.random.key(epoch))
        predicted = predict_probabilities(model, variables, tiles.test) > 0.5
        scores.append(float((predicted == tiles.test.labels).mean()))
    assert scores[0] < 0.7 < 0.85 < scores[1]


def test_l2_of_zero_is_chosen_on_the_validation_tiles(pool: Tiles, monkeypatch) -> None:
    tried = []
    monkeypatch.setattr(head_fitting, "minimise", lambda *given: tried.append(float(given[-1])) or minimise(*given))
    validation = replace(pool, indices=pool.indices[60:], labels=pool.labels[60:])
    _, chosen = fitted(pool, Recipe(l2=0.0), validation=validation)
    assert tried == pytest.approx(list(head_fitting.L2_GRID))
    losses = {l2: loss_of(fitted(pool, Recipe(l2=l2))[1], validation) for l2 in head_fitting.L2_GRID}
    assert loss_of(chosen, validation) <= min(losses.values()) + 0.02


def loss_of(variables, tiles: Tiles) -> float:
    probabilities = predict_probabilities(Model(Head(CLASSES)), variables, tiles)
    cells = np.where(tiles.labels, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(cells, 1e-12)).sum(1).mean())


def test_one_program_serves_all_numbers_of_labels(pool: Tiles, traces) -> None:
    traces(minimise)
    for count in (20, 40, 60, 80):
        fitted(pool, Recipe(), count, width=5)
    assert traces(minimise) == 1


def test_features_that_are_not_finite_are_an_error(pool: Tiles) -> None:
    broken = replace(pool, images=np.full_like(pool.images, np.nan))
    with pytest.raises(DivergedError, match="the loss of the head is not finite"):
        fitted(broken, Recipe())


@pytest.mark.parametrize(
    ("query", "first", "width"), [("tpd", "random", 0), ("ll", "coverage", 0), ("badge", "random", 8)]
)
def test_killed_after_every_save_equals_uninterrupted(
    query: str, first: str, width: int, tmp_path, monkeypatch
) -> None:
    chosen = replace(settings(tmp_path / "whole", query=query, first=first), trials=1)  # two: tests/runs/test_resume.py
    network = Head(CLASSES, width)
    run(chosen, network)
    save = RunStore.save

    def save_and_die(store: RunStore, state) -> None:
        save(store, state)
        raise KilledError

    broken = replace(chosen, run_dir=tmp_path / "broken", checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", save_and_die)
        for _ in range(100):
            try:
                run(broken, network)
            except KilledError:
                continue
            break
    assert differences(contents(broken.run_dir), contents(chosen.run_dir)) == []


def test_what_a_run_on_features_has_learnt_predicts_others(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "run", trials=1)
    run(chosen)
    trained = aljax.load(chosen.run_dir)
    others = make_features(seed=1)
    assert trained.predict(others.images).shape == (TILES, CLASSES)
    assert json.loads((chosen.run_dir / "config.json").read_text())["head"] == "linear"
    assert "first" not in json.loads((chosen.run_dir / "config.json").read_text())


def test_first_batch_covers_the_features_anew_in_each_trial(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "run", first="coverage")
    run(chosen)
    rounds = {json.loads(line)["trial"] for line in (chosen.run_dir / "history.jsonl").read_text().splitlines()}
    assert rounds == {1, 2}
    assert json.loads((chosen.run_dir / "config.json").read_text())["first"] == "coverage"


def write_archive(folder: Path) -> list[object]:
    archive = make_features()
    np.savez(folder / "features.npz", ids=np.array(archive.ids), embeddings=archive.images[:, 0, 0].astype(np.float16))
    rows = (f"{tile},{','.join(map(str, row))}" for tile, row in zip(archive.ids, archive.labels.tolist(), strict=True))
    (folder / "labels.csv").write_text("\n".join([",".join(("id", *archive.class_names)), *rows]) + "\n")
    return ["--features", folder / "features.npz", "--labels", folder / "labels.csv", "--run-dir", folder / "run"]


def test_command_runs_on_features(tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = [*write_archive(tmp_path), "--query", "rarity", "--first", "coverage", "--trials", 1, "--initial", 12]
    sizes = ["--budget", 4, "--max-labels", 20]
    assert run_command(monkeypatch, run_archive.main, *arguments, *sizes) == 0
    assert "Rarity+Clustering" in capsys.readouterr().out
    assert run_command(monkeypatch, run_archive.main, *arguments, *sizes, "--head", "mlp") == 2
    assert "head is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--images", "."], "give either --images, a folder of tiles, or --features"),
        (["--l2", "-1"], "--l2 is -1.0: it must be at least 0"),
        (["--first", "best"], "--first"),
    ],
)
def test_bad_settings_are_one_line(change, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    assert run_command(monkeypatch, run_archive.main, *write_archive(tmp_path), *change) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
