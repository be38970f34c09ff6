"""What a run keeps in text files is checked when it is read: edited or cut off, it is one line that says so."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_command import run as run_command
from small_runs import run, settings
from tiny import make_archive

import aljax
from aljax.commands import compare, predict
from aljax.errors import DivergedError, InputError
from aljax.networks.head import Head
from aljax.runs import inference
from aljax.runs.config import find_damage, read_config
from aljax.runs.run_dir import read_history


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("sound") / "run"
    run(settings(run_dir, max_labels=8))
    return run_dir


@pytest.fixture
def config(sound: Path) -> dict:
    return json.loads((sound / "config.json").read_text())


@pytest.fixture
def edited(sound: Path, tmp_path: Path):
    """A run with the same checkpoints whose configuration an editor changed; None takes an entry out."""

    def edited(**changes: object) -> Path:
        run_dir = tmp_path / "edited"
        run_dir.mkdir()
        (run_dir / "checkpoints").symlink_to(sound / "checkpoints")
        content = {**json.loads((sound / "config.json").read_text()), **changes}
        kept = {name: value for name, value in content.items() if changes.get(name, "") is not None}
        (run_dir / "config.json").write_text(json.dumps(kept))
        return run_dir

    return edited


CHANGES = {
    "a deviation of 0": ({"deviation": [0.0, 1.0, 1.0]}, "a mean is out of range, or a deviation not above 0"),
    "one that float32 cannot hold": ({"deviation": [1e-60] * 3}, "a deviation not above 0"),
    "a mean too large": ({"mean": [1e39, 1.0, 1.0]}, "a mean is out of range"),
    "a mean that is larger still": ({"mean": [10**400, 1, 1]}, "mean is .*, not a list of finite numbers"),
    "NaN": ({"mean": [float("nan"), 1.0, 1.0]}, r"mean is \[NaN, 1.0, 1.0\], not a list of finite numbers"),
    "a band too few": ({"mean": [1.0, 2.0]}, "it has a mean for 2 bands and a deviation for 3"),
    "a class too few": ({"class_names": ["a"]}, "it has 1 class_names and 3 class_tiles"),
    "a text for numbers": ({"mean": "grey"}, 'mean is "grey", not a list of finite numbers'),
    "a text for a number": ({"image_size": "32"}, 'image_size is "32", not a whole number'),
    "a fraction": ({"trials": 1.5}, "trials is 1.5, not a whole number"),
    "true for a number": ({"trials": True}, "trials is true, not a whole number"),
    "all memory": ({"image_size": 10**9}, "--image-size is 1000000000: it must be at most 8192"),
    "no epochs": ({"epochs": 0}, "--epochs is 0: it must be at least 1"),
    "an unknown choice": ({"normalisation": "none"}, 'normalisation is "none", not one of standardise, scale'),
    "an unknown engine": ({"engine": "onnx"}, 'engine is "onnx", not one of xla, openvino'),
    "its precision": ({"engine_precision": "int8"}, 'engine_precision is "int8", not one of float32, bfloat16'),
    "no layers": ({"depths": []}, r"depths is \[\], and a network has at least 1"),
    "no channels": ({"growth": 0}, "growth is 0, and a network has at least 1"),
    "no classes": ({"class_names": None}, "it lacks class_names"),
    "no network": ({"depths": None, "growth": None, "stem_channels": None}, "it lacks depths"),
    "another's class": ({"network": {}, "depths": None, "growth": None, "stem_channels": None}, "network has no class"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_edited_configuration_is_one_line_and_no_prediction(kind, edited, monkeypatch, tmp_path, capsys) -> None:
    changes, message = CHANGES[kind]
    run_dir = edited(**changes)
    for main, arguments in (
        (predict.main, ("--run-dir", run_dir, "--images", tmp_path, "--out", tmp_path / "p.csv")),
        (compare.main, (run_dir, "--out", tmp_path / "c.png")),
    ):
        assert run_command(monkeypatch, main, *arguments) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert re.match(f"error: .*{message}", error), error
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"growth": 5}, r"\(growth 5 and 4\)"),
        ({"depths": [1, 10**9]}, r"depths \(1, 1000000000\) and \(1, 2\)"),
        ({"stem_channels": 10**9}, r"stem_channels 1000000000 and 8"),
        ({"mean": [1.0] * 4, "deviation": [1.0] * 4}, r"\(bands 4 and 3\)"),
        ({"class_names": ["a", "b"], "class_tiles": [1, 2]}, r"\(classes 2 and 3\)"),
    ],
)
def test_network_that_is_not_the_checkpoints_is_reported(changes, message, edited) -> None:
    with pytest.raises(InputError, match=f"config.json is not that of the checkpoint .*{message}"):
        aljax.load(edited(**changes))


def test_head_that_is_not_the_checkpoints_is_reported() -> None:
    params = {"head": {"kernel": np.zeros((6, 3))}}
    assert inference._sizes(params) == inference._said(Head(3), 6)
    params = {"hidden": {"kernel": np.zeros((6, 8))}, "head": {"kernel": np.zeros((8, 3))}}
    assert inference._sizes(params) == inference._said(Head(3, 8), 6) != inference._said(Head(3, 9), 6)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"format": 5}', "null", '"\\ud800"'])
def test_configuration_that_was_cut_off_is_one_line(text: str, tmp_path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config.json is damaged \(.*\): bring it back"):
        read_config(tmp_path)


def test_configuration_of_every_kind_of_run_is_sound(config) -> None:
    assert find_damage(config) is None
    assert find_damage({**config, "tiles": 60, "split": "a", "init_weights": "b", "query": "theirs:score"}) is None
    older = {name: value for name, value in config.items() if name not in ("split", "l2", "first")}
    assert find_damage(older) is None
    bare = {name: value for name, value in config.items() if name not in ("depths", "growth", "stem_channels")}
    assert find_damage({**bare, "head": "mlp", "width": 8, "pool": "c", "skipped": ["d"]}) is None
    assert find_damage({**bare, "network": {"class": "theirs:Small"}}) is None


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"trial": 1}', "", '{"micro_f1": "high"}', '{"selected": 3}', '{"trial": "one"}']
)
def test_history_that_somebody_edited_is_one_line(line: str, sound, tmp_path) -> None:
    text = (sound / "history.jsonl").read_text()
    if line.startswith('{"') and "1}" not in line:
        line = json.dumps({**json.loads(text), **json.loads(line)})
    (tmp_path / "history.jsonl").write_text(text + line + "\n")
    with pytest.raises(InputError, match=r"history.jsonl is damaged .*: bring it, or the checkpoints, back"):
        read_history(tmp_path)


def test_prediction_that_is_not_finite_is_an_error(sound) -> None:
    images = make_archive(3).images.astype(np.float32)
    images[1, 4, 4] = np.nan
    with pytest.raises(DivergedError, match="predicts of 1 of 3 tiles is not finite, as of number 2: look at its"):
        aljax.load(sound).predict(images)
