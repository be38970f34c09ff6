"""`config.json` of a run, read with a check of every value: an editor, or a copy cut short, may have changed some."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from aljax.engines.scoring import Precision
from aljax.errors import InputError
from aljax.loop import constant
from aljax.loop.settings import LATER, WHERE_AND_WHEN, Settings, check_ranges
from aljax.training.recipe import Recipe

# The format of run directories; increased when a version cannot go on with what older ones wrote.
FORMAT = 5

SETTINGS: Mapping[str, Any] = {
    name: kind
    for of in (Settings, Recipe)
    for name, kind in get_type_hints(of).items()
    if name not in (*WHERE_AND_WHEN, "recipe")
} | {"init_weights": str | None, "engine_precision": Precision}  # of the weights the digest; of XLA there is none
DATA = {"archive": str, "fingerprint": str, "class_names": list[str], "class_tiles": list[int]}
STATISTICS = {"mean": list[float], "deviation": list[float]}
# What a network is described by; a run has one of them.
DENSENET = {"depths": list[int], "growth": int, "stem_channels": int}
NETWORKS: tuple[Mapping[str, Any], ...] = (DENSENET, {"head": Literal["linear", "mlp"]}, {"network": dict})
# What only some runs have.
OPTIONAL = {"split": str, "pixel_type": str, "query_sha256": str, "width": int, "pool": str, "skipped": list[str]}
OPTIONAL |= dict(zip(constant.KEYS, (list[str], float, float), strict=True))


def read_config(run_dir: Path) -> dict[str, Any]:
    """The configuration of a run. Raises InputError if there is none that this version can read, or it is not sound."""
    path = run_dir / "config.json"
    way_out = "bring it back, or choose another --run-dir"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} is not readable ({error.strerror}): name a folder that an experiment wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): {way_out}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged (it holds no settings): {way_out}")
    if config.get("format") != FORMAT:
        raise InputError(
            f"{run_dir} was written by another version of aljax (format {config.get('format', 1)} where this one has "
            f"{FORMAT}): go on with that version, or choose another --run-dir"
        )
    if damage := find_damage(config):
        raise InputError(f"{path} is damaged ({damage}): {way_out}")
    return config


def find_damage(config: Mapping[str, Any]) -> str | None:
    """What is wrong with a configuration: a value that is missing, of another type, out of range, or fits no other."""
    network = next((names for names in NETWORKS if names.keys() & config.keys()), DENSENET)
    needed = {**SETTINGS, **DATA, **STATISTICS, **network}
    for name, kind in {**needed, **OPTIONAL}.items():
        if name not in config:
            if name in needed and name not in LATER:
                return f"it lacks {name}"
        elif not _is(config[name], kind):
            return f"{name} is {_shown(config[name])}, not {_named(kind)}"
    return _misfit(config) or _out_of_range(config)


def _is(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is(item, get_args(kind)[0]) for item in value)
    if kind in (int, float):  # True is a number to Python, and what is not finite one to its JSON
        numbers = int if kind is int else int | float
        return isinstance(value, numbers) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is list:
        return f"a list of {_named(get_args(kind)[0]).removeprefix('a ')}s"
    words = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", dict: "an object"}
    return words.get(kind, "a text or null")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _misfit(config: Mapping[str, Any]) -> str | None:
    """Values that do not fit each other, or that nothing can be computed with."""
    names, mean = config["class_names"], config["mean"]
    with np.errstate(over="ignore"):  # they are computed with in float32
        statistics = np.array([*mean, *config["deviation"]], np.float32)
    if len(names) != len(config["class_tiles"]) or not names:
        return f"it has {len(names)} class_names and {len(config['class_tiles'])} class_tiles"
    if len(mean) != len(config["deviation"]) or not mean:
        return f"it has a mean for {len(mean)} bands and a deviation for {len(config['deviation'])}"
    if not np.isfinite(statistics).all() or not (statistics[len(mean) :] > 0).all():
        return "a mean is out of range, or a deviation not above 0"
    sizes = {name: config[name] for name in ("depths", "growth", "stem_channels", "width") if name in config}
    if odd := [name for name, size in sizes.items() if not size or np.min(size) < 1]:
        return f"{odd[0]} is {sizes[odd[0]]}, and a network has at least 1"
    if "network" in config and not isinstance(config["network"].get("class"), str):
        return "network has no class"
    return None


def _out_of_range(config: Mapping[str, Any]) -> str | None:
    recipe = {field.name: config[field.name] for field in fields(Recipe) if field.name in config}
    own = {name: config[name] for name in SETTINGS if name in config and name not in (*recipe, "init_weights")}
    try:
        check_ranges(Settings(**own, recipe=Recipe(**recipe)))
    except InputError as error:
        return str(error)
    return None
