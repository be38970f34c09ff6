"""Published weights: the same numbers as in PyTorch, other bands, broken files, and what a run starts from."""

import hashlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_command import run as run_tool
from safetensors.numpy import save_file

from aljax.commands import convert_weights
from aljax.data.archive import random_split
from aljax.errors import InputError
from aljax.loop import iterations as loop
from aljax.loop.settings import Settings
from aljax.networks.densenet import DenseNet, DenseNet121
from aljax.networks.model import Model, init_variables
from aljax.runs.experiment import run_experiment
from aljax.training.conversion import adapt_bands, convert, source_name
from aljax.training.recipe import Recipe
from aljax.training.weights import Weights, check_weights, load_weights, read_tensors, start_from, to_bytes
from experiments import quickstart

CLASSES = 3


class Shape(NamedTuple):
    """Of a network, in the words of both frameworks."""

    depths: tuple[int, ...]
    growth: int
    stem: int


TINY = Shape((1, 2), 4, 8)  # the network of tiny.py
THREE_BLOCKS = Shape((2, 1, 3), 4, 8)
DENSENET121 = Shape((6, 12, 24, 16), 32, 64)


def published(shape: Shape, seed: int = 0) -> dict[str, np.ndarray]:
    """A state_dict under torchvision's names, every tensor random: norms and running statistics too."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def norm(name: str, channels: int) -> None:
        tensors[f"{name}.weight"] = rng.uniform(0.6, 1.6, channels)
        tensors[f"{name}.bias"] = rng.normal(0.0, 0.3, channels)
        tensors[f"{name}.running_mean"] = rng.normal(0.0, 0.3, channels)
        tensors[f"{name}.running_var"] = rng.uniform(0.5, 2.0, channels)
        tensors[f"{name}.num_batches_tracked"] = np.array(7, np.int64)

    def conv(name: str, outputs: int, inputs: int, width: int) -> None:
        deviation = np.sqrt(2.0 / (inputs * width**2))
        tensors[f"{name}.weight"] = rng.normal(0.0, deviation, (outputs, inputs, width, width))

    conv("features.conv0", shape.stem, 3, 7)
    norm("features.norm0", shape.stem)
    channels = shape.stem
    for block, depth in enumerate(shape.depths, start=1):
        for layer in range(1, depth + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm1", channels)
            conv(f"{name}.conv1", 4 * shape.growth, channels, 1)
            norm(f"{name}.norm2", 4 * shape.growth)
            conv(f"{name}.conv2", shape.growth, 4 * shape.growth, 3)
            channels += shape.growth
        if block < len(shape.depths):
            norm(f"features.transition{block}.norm", channels)
            conv(f"features.transition{block}.conv", channels // 2, channels, 1)
            channels //= 2
    norm("features.norm5", channels)
    tensors["classifier.weight"] = rng.normal(0.0, channels**-0.5, (CLASSES, channels))
    tensors["classifier.bias"] = rng.normal(0.0, 1.0, CLASSES)
    return {name: np.asarray(t, np.int64 if t.dtype == np.int64 else np.float32) for name, t in tensors.items()}


def older_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): t for name, t in tensors.items()}


def write(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    save_file(tensors, path)
    return path


def converted(path: Path, tensors: dict[str, np.ndarray], bands: str = "R,G,B") -> Path:
    """The file that the converter makes of a state_dict."""
    source = write(path.with_suffix(".source"), tensors)
    convert_weights.convert_weights(source, path, bands)
    return path


def variables_of(network: DenseNet, weights: Weights, head: dict[str, np.ndarray], bands: int = 3) -> dict:
    """Published weights and head together, without drawing random ones first."""
    shapes = jax.eval_shape(lambda key: init_variables(key, Model(network), 32, bands), jax.random.key(0))
    variables = start_from(weights, shapes)
    params = {**variables["params"]["network"], "head": head}
    return {"params": params, "batch_stats": variables["batch_stats"]}


# Of PyTorch 2.13.0 on the CPU: what the network with the weights of `published` answers, thinned out by `sampled`.
ANSWERS = Path(__file__).with_name("pytorch_answers.npz")


def sampled(array: np.ndarray) -> np.ndarray:
    flat = np.asarray(array).ravel()
    return flat[:: max(len(flat) // 2000, 1)]


def answers(case: str) -> list[np.ndarray]:
    """Logits, embedding and blocks, channels last."""
    with np.load(ANSWERS) as file:
        return [file[f"{case}/{number}"] for number in range(sum(name.startswith(f"{case}/") for name in file.files))]


def answers_of_torch(shape: Shape, tensors: dict[str, np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    from tools.torch_densenet import TorchDenseNet

    network = TorchDenseNet(*shape, CLASSES, images.shape[-1]).eval()
    network.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()}, strict=True)
    with torch.no_grad():
        logits, embedding, blocks = network(torch.tensor(images.transpose(0, 3, 1, 2).copy()))
    return [logits.numpy(), embedding.numpy(), *(block.numpy().transpose(0, 2, 3, 1) for block in blocks)]


def assert_same_answers(
    case: str, shape: Shape, weights: Weights, tensors: dict[str, np.ndarray], images: np.ndarray
) -> None:
    network = DenseNet(CLASSES, *shape)
    head = {"kernel": tensors["classifier.weight"].T, "bias": tensors["classifier.bias"]}
    variables = variables_of(network, weights, head, images.shape[-1])
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(network.apply)(variables, images)
    theirs = answers(case)
    assert theirs[0].std() > 0.3  # else 1e-4 would say little
    for mine, expected in zip((ours.logits, ours.embedding, *ours.blocks), theirs, strict=True):
        np.testing.assert_allclose(sampled(mine), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["tiny", "three blocks", "DenseNet121"])
def test_kept_answers_are_pytorchs(case: str) -> None:
    shape, size = {"tiny": (TINY, 37), "three blocks": (THREE_BLOCKS, 44), "DenseNet121": (DENSENET121, 64)}[case]
    for now, kept in zip(answers_of_torch(shape, published(shape), random_images(size)), answers(case), strict=True):
        np.testing.assert_allclose(sampled(now), kept, rtol=0, atol=1e-5)


def random_images(size: int, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(3, size, size, bands)).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "shape", "size", "names"),
    [
        ("tiny", TINY, 37, dict),
        ("three blocks", THREE_BLOCKS, 44, dict),
        ("three blocks", THREE_BLOCKS, 44, older_names),
        ("DenseNet121", DENSENET121, 64, dict),
    ],
)
def test_same_weights_give_the_logits_embedding_and_blocks_of_pytorch(
    case: str, shape: Shape, size: int, names: Callable, tmp_path
) -> None:
    tensors = published(shape)
    weights = load_weights(converted(tmp_path / "file", names(tensors)))
    assert_same_answers(case, shape, weights, tensors, random_images(size))


def test_four_bands_give_what_pytorch_gives_with_its_first_convolution_replaced(tmp_path) -> None:
    tensors = published(THREE_BLOCKS)
    weights = load_weights(converted(tmp_path / "file", tensors, "IR,G,B,R"))
    red, green, blue = np.moveaxis(tensors["features.conv0.weight"], 1, 0)
    four = np.stack([(red + green + blue) / 3, green, blue, red], axis=1) * 0.75
    assert_same_answers(
        "four bands", THREE_BLOCKS, weights, {**tensors, "features.conv0.weight": four}, random_images(44, 4)
    )


@pytest.mark.parametrize("depths", [(1,), (1, 1, 1, 1, 1)])
def test_any_number_of_dense_blocks_is_converted(depths: tuple[int, ...], tmp_path) -> None:
    tensors = published(TINY._replace(depths=depths))
    own = [name for name in tensors if not name.startswith("classifier.") and "num_batches" not in name]
    assert len(load_weights(converted(tmp_path / "weights", tensors)).tensors) == len(own)


def test_yardstick_has_the_names_and_the_size_of_torchvisions_densenet121() -> None:
    pytest.importorskip("torch")
    from tools.torch_densenet import TorchDenseNet

    network = TorchDenseNet(*DENSENET121, 1000)
    assert sum(p.numel() for p in network.parameters()) == 7_978_856  # what torchvision states
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in network.state_dict().items())
    # The same listing of densenet121 in torchvision 0.28 and in timm 1.0.31 has this SHA-256.
    listing = "9c659ec278435e95dba57acdc3b0b3e81670779625122b059b6168bbfa51e232"
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == listing


def test_every_tensor_of_a_published_file_but_its_head_and_counters_has_one_place() -> None:
    tensors = published(THREE_BLOCKS)
    shapes = jax.eval_shape(DenseNet(CLASSES, *THREE_BLOCKS).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    places = [source_name("/".join(part.key for part in path)) for path, _ in jax.tree.leaves_with_path(shapes)]
    theirs = [name for name in tensors if not name.endswith("num_batches_tracked")]
    assert sorted(place.replace("features.head", "classifier") for place in places) == sorted(theirs)


@pytest.mark.parametrize("bands", [("R", "G", "B"), ("B", "R", "G")])
def test_rgb_in_any_order_keeps_every_kernel_as_it_is(bands: tuple[str, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 8)).astype(np.float32)
    order = ["RGB".index(band) for band in bands]
    np.testing.assert_array_equal(adapt_bands(kernel, bands), kernel[:, :, order])


@pytest.mark.parametrize("bands", [("PAN",), ("IR", "G", "B", "R"), ("R", "G", "B", "RE", "NIR", "SWIR")])
def test_grey_tile_gives_the_same_activation_whatever_the_number_of_bands(bands: tuple[str, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 8)).astype(np.float32)
    adapted = adapt_bands(kernel, bands)
    assert adapted.shape == (7, 7, len(bands), 8)
    np.testing.assert_allclose(adapted.sum(2), kernel.sum(2), atol=1e-5)


def test_file_keeps_every_number_says_where_it_is_from_and_is_the_same_each_time(tmp_path) -> None:
    tensors = published(THREE_BLOCKS)
    source = read_tensors(write(tmp_path / "source.safetensors", tensors))
    _, mapped = convert(source, ("R", "G", "B"))
    (tmp_path / "file").write_bytes(to_bytes(mapped, ("R", "G", "B"), "standardise", source.path.name, source.sha256))
    back = load_weights(tmp_path / "file")
    assert back.bands == ("R", "G", "B")
    assert back.normalisation == "standardise"
    assert back.sha256 == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    assert set(back.tensors) == set(mapped)
    for name, tensor in mapped.items():
        np.testing.assert_array_equal(back.tensors[name], tensor)
        assert back.tensors[name].dtype == np.float32
        assert not name.startswith("params/head")
    about = read_tensors(tmp_path / "file").metadata["aljax"]
    assert "source.safetensors" in about
    assert hashlib.sha256((tmp_path / "source.safetensors").read_bytes()).hexdigest() in about
    # safetensors orders metadata by a hash that differs between processes.
    script = (
        "import sys; from pathlib import Path; from aljax.commands.convert_weights import convert_weights as c; "
        "c(Path(sys.argv[1]), Path(sys.argv[2]), 'R,G,B')"
    )
    other = tmp_path / "again"
    subprocess.run([sys.executable, "-c", script, source.path, other], check=True, capture_output=True)
    assert other.read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("kind", [np.float16, np.float64, jnp.bfloat16])
def test_weights_of_other_widths_become_float32(kind, tmp_path) -> None:
    tensors = published(TINY)
    narrow = {name: t.astype(kind) if t.dtype == np.float32 else t for name, t in tensors.items()}
    _, mapped = convert(read_tensors(write(tmp_path / "file", narrow)))
    assert {tensor.dtype for tensor in mapped.values()} == {np.dtype(np.float32)}
    expected = narrow["features.norm5.running_mean"].astype(np.float32)
    np.testing.assert_array_equal(mapped["batch_stats/norm/mean"], expected)


def changed(**changes: np.ndarray | None) -> Callable[[dict], dict]:
    """Tensors replaced, added or (None) taken away; underscores stand for dots."""
    renamed = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return lambda tensors: {name: t for name, t in {**tensors, **renamed}.items() if t is not None}


BROKEN = [
    (
        changed(features__transition1__conv__weight=None),
        r"lacks the tensor features.transition1.conv.weight of shape \(6, 12, 1, 1\)",
    ),
    (
        changed(features__norm5__bias=np.zeros(5, np.float32)),
        r"features.norm5.bias has shape \(5,\) where \(14,\) is expected",
    ),
    (
        changed(features__conv0__weight=np.zeros((8, 10, 7, 7), np.float32)),
        r"features.conv0.weight has shape \(8, 10, 7, 7\) where \(8, 3, 7, 7\) is expected",
    ),
    (
        changed(features__conv1__weight=np.zeros((2, 2), np.float32), features__zzz=np.zeros(2, np.float32)),
        r"no place for features.conv1.weight of shape \(2, 2\) and 1 more",
    ),
    (changed(features__denseblock2__denselayer2__norm2__running_var=np.full(16, np.nan, np.float32)), "not finite"),
    (changed(features__norm0__weight=np.full(8, 1e300)), "features.norm0.weight has values that are not finite"),
    (changed(features__conv0__weight=None), "not a DenseNet with the names of torchvision or timm"),
    (lambda tensors: {"fc.weight": np.zeros((2, 2), np.float32)}, "not a DenseNet with the names"),
    (lambda tensors: {**tensors, **older_names(tensors)}, "older and newer names at once"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_file_of_another_network_is_refused_with_the_tensor_and_its_shapes(
    change: Callable, message: str, tmp_path, monkeypatch, capsys
) -> None:
    source = write(tmp_path / "source.safetensors", change(published(TINY)))
    assert run_tool(monkeypatch, convert_weights.main, source, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert str(source) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.safetensors", lambda whole: whole[:-10], "cut short"),
        ("header.safetensors", lambda whole: whole[:100], "cut short"),
        ("empty.safetensors", lambda whole: b"", "cut short"),
        ("page.safetensors", lambda whole: b"<!DOCTYPE html><title>Not found</title>", "no safetensors file"),
        ("zip", lambda whole: b"PK\x03\x04" + bytes(100), "is a pickle"),
        ("old", lambda whole: b"\x80\x02\x8a\nl\xfc\x9cF", "is a pickle"),
        ("weights.pth", lambda whole: b"anything", "is a pickle"),
    ],
)
def test_broken_file_is_one_line_that_says_what_to_do(
    name: str, content: Callable, message: str, tmp_path, monkeypatch, capsys
) -> None:
    path = tmp_path / name
    path.write_bytes(content(write(tmp_path / "whole", published(TINY)).read_bytes()))
    assert run_tool(monkeypatch, convert_weights.main, path, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=message):
        load_weights(path)


@pytest.mark.parametrize("name", ["missing", "cut", "unconverted", "folder"])
def test_experiment_refuses_weights_it_cannot_use_before_it_writes(name: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(quickstart, "VALIDATION_TILES", 10)
    monkeypatch.setattr(quickstart, "TEST_TILES", 10)
    write(tmp_path / "unconverted", published(TINY))
    (tmp_path / "cut").write_bytes((tmp_path / "unconverted").read_bytes()[:-1])
    (tmp_path / "folder").mkdir()
    arguments = ("--run-dir", tmp_path / "run", "--tiles", 60, "--max-labels", 40)
    assert run_tool(monkeypatch, quickstart.main, "--init-weights", tmp_path / name, *arguments) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / name) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_advice_for_a_pickle_makes_a_file_that_is_read(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    tensors = published(TINY)
    torch.save({name: torch.tensor(tensor) for name, tensor in tensors.items()}, tmp_path / "weights.pth")
    with pytest.raises(InputError) as refusal:
        read_tensors(tmp_path / "weights.pth")
    found = re.search(r'python -c "(.*)"$', str(refusal.value))
    assert found
    exec(found[1], {})
    back = read_tensors(tmp_path / "weights.safetensors").tensors
    np.testing.assert_array_equal(back["features.norm5.running_var"], tensors["features.norm5.running_var"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bands", "R,G,R"], "--bands is 'R,G,R'"),
        (["--bands", "R,,B"], "--bands is 'R,,B'"),
        (["--out", "."], "is a folder"),
        (["--out", "source"], "is the source"),
        (["--out", "source/file"], "cannot write --out source/file"),
    ],
)
def test_impossible_request_to_the_converter_is_one_line(arguments, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    before = write(tmp_path / "source", published(TINY)).read_bytes()
    assert run_tool(monkeypatch, convert_weights.main, "source", "--out", "new", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert (tmp_path / "source").read_bytes() == before


def test_converter_says_what_it_mapped_and_what_stays_fresh(tmp_path, monkeypatch, capsys) -> None:
    source = write(tmp_path / "source", published(TINY))
    out = tmp_path / "folder" / "out"
    assert run_tool(monkeypatch, convert_weights.main, source, "--out", out, "--bands", "ir,g,b,r") == 0
    text = capsys.readouterr().out
    tensors = read_tensors(out).tensors
    for part in ("params/", "batch_stats/"):
        assert f"{sum(t.size for name, t in tensors.items() if name.startswith(part)):,} " in text
    assert f"mapped: {len(tensors)} tensors" in text
    assert "IR (mean of R, G and B), G, B, R, all times 3/4" in text
    assert f"the {CLASSES} classes of the source are left out" in text
    assert str(out) in text


def test_source_and_converted_file_are_not_mistaken_for_each_other(tmp_path) -> None:
    file = converted(tmp_path / "file", published(TINY))
    with pytest.raises(InputError, match="converted already"):
        convert(read_tensors(file))
    with pytest.raises(InputError, match=r"`aljax convert-weights SOURCE --out FILE`"):
        load_weights(write(tmp_path / "source", published(TINY)))


def test_weights_for_other_bands_or_another_network_are_refused_with_what_to_do(model: Model, tmp_path) -> None:
    weights = load_weights(converted(tmp_path / "file", published(TINY)))
    four = jax.eval_shape(lambda key: init_variables(key, model, 32, 4), jax.random.key(0))
    with pytest.raises(InputError, match=r"is for 3 bands \(R, G, B\) and the tiles have 4: .* --bands IR,G,B,R"):
        check_weights(weights, four)
    big = Model(DenseNet121(CLASSES))
    large = jax.eval_shape(lambda key: init_variables(key, big, 32, 3), jax.random.key(0))
    with pytest.raises(InputError, match=r"another network: params/stem/kernel has shape \(7, 7, 3, 8\) there and"):
        check_weights(weights, large)
    deeper = Model(replace(model.network, depths=(1, 3)))
    variables = jax.eval_shape(lambda key: init_variables(key, deeper, 32, 3), jax.random.key(0))
    with pytest.raises(InputError, match=r"has shape .* there and .* here"):
        check_weights(weights, variables)


def settings(run_dir: Path, **changes) -> Settings:
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.05)
    base = Settings(
        run_dir=run_dir, query="random", trials=2, initial=4, budget=4, max_labels=8, image_size=32, recipe=recipe
    )
    return replace(base, **changes)


def starts_of_run(archive, network: DenseNet, chosen: Settings, monkeypatch) -> list[dict]:
    """The variables that each iteration's training began with; the training itself is left out."""
    starts: list[dict] = []
    fit = loop.fit

    def trained(*arguments, **named) -> dict:
        variables = inspect.signature(fit).bind(*arguments, **named).arguments["start"].state.variables
        starts.append(jax.tree.map(np.asarray, variables))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf) + np.float32(0.01), starts[-1])

    monkeypatch.setattr(loop, "fit", trained)
    run_experiment(chosen, archive, random_split(chosen.seed, len(archive.ids), 10, 10), network)
    monkeypatch.undo()
    return starts


def same(first: object, second: object) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), first, second))


def without_head(variables: dict) -> dict:
    network = {name: module for name, module in variables["params"]["network"].items() if name != "head"}
    return {"params": network, "batch_stats": variables["batch_stats"]}


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_iterations_start_from_published_weights_with_the_heads_they_would_have_had(
    start: str, archive, network, tmp_path, monkeypatch
) -> None:
    file = converted(tmp_path / "file", published(TINY))
    plain = settings(tmp_path / "plain", start=start, query="ll", clustering=False)
    random = starts_of_run(archive, network, plain, monkeypatch)
    chosen = replace(plain, run_dir=tmp_path / "chosen", init_weights=file)
    starts = starts_of_run(archive, network, chosen, monkeypatch)
    assert len(starts) == len(random) == 4  # two iterations in each of two trials
    expected = without_head(start_from(load_weights(file), random[0]))
    fresh = [0, 1, 2, 3] if start == "cold" else [0, 2]
    assert [index for index, variables in enumerate(starts) if same(without_head(variables), expected)] == fresh
    for index in fresh:
        assert not same(without_head(random[index]), expected)
        for head in (lambda v: v["params"]["network"]["head"], lambda v: v["params"]["loss_head"]):
            assert same(head(starts[index]), head(random[index]))


def test_resume_wants_the_same_weights_wherever_they_lie(archive, network, tmp_path) -> None:
    split = random_split(0, len(archive.ids), 10, 10)
    file = converted(tmp_path / "file", published(TINY))
    chosen = settings(tmp_path / "run", trials=1, max_labels=4, init_weights=file)
    first = run_experiment(chosen, archive, split, network)
    before = (chosen.run_dir / "config.json").read_bytes()
    assert hashlib.sha256(file.read_bytes()).hexdigest().encode() in before
    assert str(file).encode() not in before

    other = converted(tmp_path / "other", published(TINY, seed=1))
    for weights in (other, None):
        with pytest.raises(InputError, match=r"init_weights is .* here and .* there"):
            run_experiment(replace(chosen, init_weights=weights), archive, split, network)
    assert (chosen.run_dir / "config.json").read_bytes() == before
    moved = file.rename(tmp_path / "moved")
    assert run_experiment(replace(chosen, init_weights=moved), archive, split, network) == first
    converted(moved, published(TINY, seed=1))
    with pytest.raises(InputError, match=r"init_weights is .* here and .* there"):
        run_experiment(replace(chosen, init_weights=moved), archive, split, network)


def test_weights_of_another_network_leave_no_run_behind(archive, network, tmp_path) -> None:
    file = converted(tmp_path / "file", published(THREE_BLOCKS))
    chosen = settings(tmp_path / "run", init_weights=file)
    with pytest.raises(InputError, match="another network"):
        run_experiment(chosen, archive, random_split(0, len(archive.ids), 10, 10), network)
    assert not chosen.run_dir.exists()
