"""Commands: bad input is one line and exit status 2, with nothing half-written; the public face stays light."""

import importlib
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from archives_on_disk import write_treesatai
from run_command import run
from small_runs import run as make_run
from small_runs import settings
from tiny import tiny_network

import aljax
from aljax.commands import annotate
from aljax.commands.process import command
from aljax.errors import InputError
from aljax.loop.history import Record
from aljax.reports.curves import Panel, draw_panels
from aljax.runs.experiment import check_report_place
from aljax.xla.programs import remove_unreadable
from experiments import quickstart, treesatai, ucmerced

TINY = [
    "--tiles",
    "60",
    "--trials",
    "1",
    "--initial",
    "8",
    "--budget",
    "4",
    "--max-labels",
    "12",
    "--epochs",
    "1",
    "--batch-size",
    "4",
]


@pytest.fixture(autouse=True)
def small_sets(monkeypatch) -> None:
    monkeypatch.setattr(quickstart, "VALIDATION_TILES", 10)
    monkeypatch.setattr(quickstart, "TEST_TILES", 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "--budget is 0: it must be at least 1"),
        (["--multiplier", "0"], "--multiplier is 0: it must be at least 1"),
        (["--trials", "0"], "--trials is 0"),
        (["--initial", "0"], "--initial is 0"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--learning-rate", "-1"], "--learning-rate is -1"),
        (["--learning-rate", "nan"], "--learning-rate is nan"),
        (["--head-rate", "0"], "--head-rate is 0"),
        (["--decay-at", "2"], "--decay-at is 2"),
        (["--patience", "-1"], "--patience is -1"),
        (["--image-size", "8"], "--image-size is 8"),
        (["--seed", "-3"], "--seed is -3"),
        (["--batch-size", "9"], "--batch-size 9 is larger than the labelled set of --initial 8 tiles"),
        (["--max-labels", "7"], "--max-labels 7 is below --initial 8"),
        (["--max-labels", "41"], r"--max-labels 41 asks for more labels than the pool has tiles \(40\)"),
        (["--tiles", "20"], "--tiles is 20: give more than 20"),
    ],
)
def test_impossible_setting_is_one_line_and_status_2(arguments, message, monkeypatch, tmp_path, capsys) -> None:
    run_dir = tmp_path / "run"
    assert run(monkeypatch, quickstart.main, "--run-dir", run_dir, *TINY, *arguments) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: {message}", error)
    assert error.count("\n") == 1
    assert not run_dir.exists()


@pytest.mark.parametrize("arguments", [["--query", "entropy"], ["--budget", "two"], ["--colour", "red"]])
def test_unknown_query_value_or_option_is_status_2(arguments, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, ucmerced.main, "--run-dir", tmp_path / "run", *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_data_folder_is_named(monkeypatch, tmp_path, capsys) -> None:
    status = run(monkeypatch, ucmerced.main, "--data-dir", tmp_path / "nowhere", "--run-dir", tmp_path / "run")
    assert status == 2
    assert f"{tmp_path / 'nowhere'} is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_run_directory_that_is_a_file_is_refused(monkeypatch, tmp_path, capsys) -> None:
    (tmp_path / "random").write_text("")
    assert run(monkeypatch, quickstart.main, "--run-dir", tmp_path, *TINY) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("script", [quickstart, ucmerced, treesatai])
def test_help_explains_every_setting(script, monkeypatch, capsys) -> None:
    assert run(monkeypatch, script.main, "--help") == 0
    text = capsys.readouterr().out
    for flag in (
        "--run-dir",
        "--seed",
        "--start",
        "--trials",
        "--initial",
        "--budget",
        "--multiplier",
        "--max-labels",
        "--epochs",
        "--batch-size",
        "--image-size",
        "--precision",
        "--no-clustering",
    ):
        assert flag in text
    assert script is quickstart or "--query {random,ll,tpd,mge," in text
    options = re.sub(r"[│╭╮╰╯─\s]+", " ", text)
    for explanation in re.findall(r"--[a-z-]+ (?:[A-Z]+|\{[^}]*\}) (.*?)\(default", options):
        assert len(explanation.split()) >= 2


@pytest.mark.parametrize("name", ["benchmark", "benchmark_reading", "crash_test", "damage_test", "play_project"])
def test_tool_explains_itself(name: str, monkeypatch, capsys) -> None:
    tool = importlib.import_module(f"tools.{name}")
    assert run(monkeypatch, tool.main, "--help") == 0
    text = capsys.readouterr().out
    assert f"python -m tools.{name}" in text
    options = re.sub(r"[│╭╮╰╯─\s]+", " ", text)
    for explanation in re.findall(r"--[a-z-]+ (?:[A-Z]+|\{[^}]*\}) (.*?)\(default", options):
        assert len(explanation.split()) >= 2


def test_quickstart_runs_all_queries_and_says_where_the_picture_is(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(quickstart, "DenseNet", lambda num_classes, **sizes: tiny_network(num_classes))
    assert run(monkeypatch, quickstart.main, "--run-dir", tmp_path / "q", *TINY) == 0
    out = capsys.readouterr().out
    for name in ("Random", "LL+Clustering", "TPD+Clustering", "MGE+Clustering"):
        assert name in out
    assert out.rstrip().endswith(f"curve: {tmp_path / 'q' / 'curve.png'}")
    assert (tmp_path / "q" / "curve.png").stat().st_size > 10_000


@pytest.mark.archive
def test_real_tiles_go_through_the_whole_loop(ucmerced_dir: Path, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(ucmerced, "DenseNet121", tiny_network)
    arguments = [
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--initial",
        "20",
        "--budget",
        "20",
        "--max-labels",
        "40",
        "--trials",
        "1",
        "--query",
        "ll",
    ]
    status = run(monkeypatch, ucmerced.main, "--data-dir", ucmerced_dir, "--run-dir", tmp_path / "run", *arguments)
    assert status == 0
    assert "LL+Clustering" in capsys.readouterr().out
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2


def test_treesatai_goes_through_the_whole_loop_from_disk(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(treesatai, "DenseNet121", tiny_network)
    archive = write_treesatai(tmp_path / "archive", tiles=60)
    arguments = ["--tiles-in", "disk", "--image-size", 32, "--epochs", 1, "--batch-size", 4, "--trials", 1]
    arguments += ["--initial", 8, "--budget", 4, "--max-labels", 12, "--run-dir", tmp_path / "run"]
    assert run(monkeypatch, treesatai.main, "--data-dir", archive, *arguments) == 0
    assert "MGE+Clustering" in capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [record["num_labeled"] for record in records] == [8, 12]
    train = (archive / "train_filenames.lst").read_text().split()
    assert {tile for record in records for tile in record["selected"]} <= set(train)


def test_experiments_import_the_builders_of_archives_only_when_one_is_read() -> None:
    heavy = ("tensorflow", "tensorflow_datasets", "array_record", "pooch")
    script = f"""if True:
        import sys
        import aljax.commands.prepare, aljax.commands.run, aljax.commands.show
        import experiments.treesatai, experiments.ucmerced
        print([name for name in {heavy!r} if name in sys.modules])"""
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_import_is_light_and_offers_the_public_face() -> None:
    heavy = ("tensorflow", "tensorflow_datasets", "orbax", "sklearn", "matplotlib", "tyro", "PIL", "tqdm")
    script = f"import sys, aljax; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
    for name in (
        "DenseNet121",
        "LossHead",
        "bce_loss",
        "ranking_loss",
        "gradient_embeddings",
        "mge_scores",
        "tpd_scores",
        "ll_scores",
        "kmeans",
        "select",
    ):
        assert callable(getattr(aljax, name))


PROGRAM = """
import jax
from aljax.commands.process import command, prepare_process

def main():
    prepare_process()
    jax.jit(lambda x: x * 3 + 1)(1.0).block_until_ready()

command(main)
"""


def test_compiled_program_that_a_kill_left_torn_is_replaced_without_a_word(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

    def say() -> str:
        arguments = [sys.executable, "-c", PROGRAM]
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stderr

    assert say() == ""
    entries = {path: path.read_bytes() for path in tmp_path.glob("*-cache")}
    assert entries
    for path, content in entries.items():
        path.write_bytes(content[: len(content) // 2])
    assert say() == ""
    assert {path: path.read_bytes() for path in tmp_path.glob("*-cache")}.keys() == entries.keys()
    assert all(len(path.read_bytes()) > len(content) // 2 for path, content in entries.items())
    # A warning that is not of the cache is shown.
    assert not remove_unreadable("Error reading something else")


KEPT = """
import jax
import jax.numpy as jnp
from aljax.xla import programs

def sorted_twice(x):
    return jnp.sort(jnp.cos(jnp.sort(x)))

programs.SECONDS = 0.0
programs.keep_programs()
jax.block_until_ready(jax.jit(sorted_twice)(jnp.ones(1000)))
"""


# JAX would keep programs that took a second to compile.
@pytest.mark.parametrize(("seconds", "kept"), [(None, 1), ("60", 0)])
def test_programs_that_took_less_are_kept_unless_a_user_wants_others(tmp_path, monkeypatch, seconds, kept) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    if seconds is not None:
        monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", seconds)
    subprocess.run([sys.executable, "-c", KEPT], check=True)
    assert len(list(tmp_path.glob("jit_sorted_twice-*-cache"))) == kept


def test_reader_that_has_enough_ends_a_command_without_a_traceback() -> None:
    arguments = [sys.executable, "-m", "tools.publish", "--help"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_closed_standard_error_changes_no_status() -> None:
    shell = ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, "-m", "tools.publish", "/no/such/folder", "/no/other"]
    ended = subprocess.run(shell, stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stdout) == (2, b"")


@pytest.mark.filterwarnings("default:Glyph")
def test_characters_that_the_font_lacks_are_reported_once(monkeypatch, capsys, tmp_path) -> None:
    def main() -> None:
        record = Record(1, 1, 40, 0.5, 0.5, 0.5, 0.5, (), 1.0, 1.0, 1.0)
        draw_panels(tmp_path / "curve.png", [Panel("", {"\u68ee\u6797": [record]}, "micro_f1")], "\u68ee\u6797")

    command(main)
    assert capsys.readouterr().err == "warning: the font lacks characters of names: they are boxes in the pictures\n"


def test_folder_that_may_not_be_entered_is_one_line(capsys) -> None:
    def main() -> None:
        raise PermissionError(13, "Permission denied", "/data/tiles")

    with pytest.raises(SystemExit, match="2"):
        command(main)
    line = "error: /data/tiles is not accessible (Permission denied): check its permissions\n"
    assert capsys.readouterr().err == line


REPORT = """
from pathlib import Path
from aljax.runs import experiment
from aljax.commands.process import command

experiment.table = lambda histories: "F1"
command(lambda: experiment.print_report(Path("runs"), {}))
"""


def test_output_that_takes_no_more_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", REPORT], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 2
    assert ended.stderr == "error: standard output takes no more (No space left on device): the report is in runs\n"


def test_report_replaces_no_others(monkeypatch, tmp_path, capsys) -> None:
    single, series = tmp_path / "single", tmp_path / "series"
    make_run(settings(single, max_labels=8))
    assert run(monkeypatch, quickstart.main, *TINY, "--run-dir", single) == 2
    assert f"{single} has the results of other runs, which would be replaced" in capsys.readouterr().err
    (series / "mge").mkdir(parents=True)
    (series / "summary.json").write_text("{}")
    (tmp_path / "tiles").mkdir()
    arguments = ("--images", tmp_path / "tiles", "--classes", "wood", "--run-dir", series)
    assert run(monkeypatch, annotate.main, *arguments) == 2
    assert f"{series} has the results of other runs, which would be replaced" in capsys.readouterr().err
    check_report_place(series, ("random", "mge"))
    with pytest.raises(InputError, match="has the results of other runs"):
        check_report_place(series, ("random",))


def test_what_gdal_says_of_each_file_is_not_on_standard_error(monkeypatch, capsys) -> None:
    logger, handler = logging.getLogger("rasterio"), logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logger, "propagate", True)
    logging.root.addHandler(handler)  # as importing Orbax does
    try:
        command(lambda: logging.getLogger("rasterio._env").warning("CPLE_AppDefined in tile.tif: TIFFReadDirectory"))
    finally:
        logging.root.removeHandler(handler)
    assert capsys.readouterr().err == ""
