"""The generated archive: tiles follow from seed and index, labels from what is drawn, files from the settings."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from run_command import run

from aljax.data.generated import forests
from aljax.data.generated.forest_canopy import numbers
from aljax.data.generated.forest_plan import ALONE, PARTNERS, SPECIES, Plan, Stand, plan, stream
from aljax.errors import InputError
from tools import generate
from tools.generate import LABELS, LISTS, TILES, Settings

SIZE = 48
GENERA = {species.genus for species in SPECIES}
KINDS = {species.name: index for index, species in enumerate(SPECIES)}
# What seed 7 gives at 64 pixels. If it changes on purpose, raise tools.generate.DRAWING and put the new value here.
DIGEST = "bfa238ad3c0f329862bd134f7b36ca7892cb70529b256d2248312d6d6f1df1c0"


@pytest.fixture(scope="module")
def labels() -> dict[str, forests.Areas]:
    """Those of 1,500 tiles."""
    return {plan(0, index).name: forests.areas(0, index, SIZE) for index in range(1500)}


def settings(out: Path, **changes) -> Settings:
    return Settings(**{"out": out, "tiles": 30, "size": SIZE, "processes": 1, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Tiles and areas.


def test_tiles_are_the_same_on_every_machine_and_in_every_version() -> None:
    digest = hashlib.sha256()
    for index in range(12):
        tile = forests.render(7, index, 64)
        digest.update(json.dumps([tile.name, tile.areas]).encode() + np.ascontiguousarray(tile.pixels).data)
    assert digest.hexdigest() == DIGEST


def test_a_tile_depends_on_seed_and_index_only() -> None:
    first = forests.render(1, 5, SIZE)
    forests.render(1, 6, SIZE)
    again, other_seed, other_index = (forests.render(*which, SIZE) for which in ((1, 5), (2, 5), (1, 6)))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert (first.name, first.areas) == (again.name, again.areas)
    for other in (other_seed, other_index):
        assert (first.pixels != other.pixels).mean() > 0.5


def test_areas_alone_are_those_of_the_whole_tile() -> None:
    for index in range(40):
        tile = forests.render(3, index, SIZE)
        assert forests.areas(3, index, SIZE) == tile.areas
        assert plan(3, index).name == tile.name


def test_areas_are_the_pixels_of_each_species_that_are_seen() -> None:
    for index in range(8):
        drawing = forests._draw(plan(2, index), stream(2, index, "drawing"), SIZE)
        margin = (len(drawing.canvas) - SIZE) // 2
        seen = Counter(
            SPECIES[kind].name
            for thing in numbers(drawing.canvas)[margin : margin + SIZE, margin : margin + SIZE].ravel()
            if (kind := drawing.kind[thing]) < len(SPECIES)
        )
        expected = sorted((count / SIZE**2 for count in seen.values()), reverse=True)
        measured = forests._measure(drawing, SIZE)
        np.testing.assert_allclose([area for _, area in measured], expected, atol=1.001e-5)
        assert Counter(genus for genus, _ in measured) == Counter(name.split("_")[0] for name in seen)


def test_a_stand_beyond_a_line_through_the_middle_covers_half_and_open_ground_counts_for_no_genus() -> None:
    shares = []
    for ground in (KINDS["Picea_abies"], len(SPECIES)):
        stands = (
            Stand(KINDS["Fagus_sylvatica"], 4, "whole", 0.0),
            Stand(ground, 4, "edge", 0.0),
        )
        for seed in range(12):
            scene = Plan("half", stands, 0, 0.0)
            shares.append(dict(forests._measure(forests._draw(scene, np.random.default_rng(seed), 96), 96)))
    beech, spruce = (np.array([share.get(genus, 0.0) for share in shares]) for genus in ("Fagus", "Picea"))
    assert np.mean(beech) == pytest.approx(0.5, abs=0.08)
    np.testing.assert_allclose((beech + spruce)[:12], 1.0, atol=1e-4)
    assert not spruce[12:].any()


def test_a_tile_shows_the_same_ground_at_every_resolution() -> None:
    for index in range(20):
        coarse, fine = (Counter(dict(forests.areas(0, index, size))) for size in (64, 152))
        assert plan(0, index).name == forests.render(0, index, 64).name
        for genus in coarse.keys() | fine.keys():
            assert coarse[genus] == pytest.approx(fine[genus], abs=0.06)


def test_genera_differ_in_the_bands_and_the_light_from_tile_to_tile() -> None:
    means: dict[str, list[np.ndarray]] = {}
    for index in range(250):
        if len(plan(0, index).stands) == 1:
            tile = forests.render(0, index, SIZE)
            means.setdefault(tile.areas[0][0], []).append(tile.pixels.mean((0, 1)))
    infrared = {genus: np.array(rows)[:, 0] for genus, rows in means.items()}
    assert infrared["Fagus"].mean() > 1.3 * infrared["Picea"].mean()
    assert infrared["Quercus"].mean() > 1.2 * infrared["Pinus"].mean()
    for genus in ("Fagus", "Picea", "Pinus", "Quercus"):
        assert 0.04 < infrared[genus].std() / infrared[genus].mean() < 0.3


def test_no_band_is_black_white_or_flat() -> None:
    pixels = np.stack([forests.render(0, index, SIZE).pixels for index in range(40)])
    assert pixels.shape == (40, SIZE, SIZE, 4)
    assert pixels.dtype == np.uint8
    assert ((pixels == 0) | (pixels == 255)).mean() < 0.01
    assert (pixels.std((1, 2)) > 4).all()


# Labels as a whole.


def test_rows_are_known_genera_largest_first_and_do_not_exceed_the_tile(labels) -> None:
    for rows in labels.values():
        fractions = [area for _, area in rows]
        assert rows
        assert {genus for genus, _ in rows} <= GENERA
        assert fractions == sorted(fractions, reverse=True)
        assert fractions[-1] > 0.0
        assert sum(fractions) <= 1.0 + 1e-9
        assert all(round(area, 5) == area for area in fractions)


def test_genera_are_long_tailed_as_in_the_real_archive(labels) -> None:
    counts = Counter(genus for rows in labels.values() for genus in {genus for genus, area in rows if area > 0.07})
    common = [genus for genus, _ in counts.most_common()]
    assert set(common[:4]) == {"Quercus", "Fagus", "Picea", "Pinus"}
    assert set(common[-3:]) == {"Populus", "Prunus", "Tilia"}
    assert counts.keys() == GENERA
    assert counts["Quercus"] > 0.18 * len(labels)
    assert counts["Tilia"] < 0.012 * len(labels)


def test_labels_have_the_oddities_that_readers_must_stand(labels) -> None:
    twice = [rows for rows in labels.values() if len({genus for genus, _ in rows}) < len(rows)]
    small = [rows for rows in labels.values() if any(area < 0.07 for _, area in rows)]
    none = [rows for rows in labels.values() if max(area for _, area in rows) < 0.07]
    assert 0.01 < len(twice) / len(labels) < 0.09
    assert 0.15 < len(small) / len(labels) < 0.50
    assert 0 < len(none) / len(labels) < 0.01
    assert 0.03 < np.mean([sum(area for _, area in rows) < 0.95 for rows in labels.values()]) < 0.25


def test_names_are_those_of_the_archive_and_unique(labels) -> None:
    assert len(labels) == 1500
    for name, rows in labels.items():
        match = re.fullmatch(r"(.+)_(\d+)_(\d+)_(WEFL|BI)_NLF\.tif", name)
        assert match is not None
        assert match[1] in KINDS
        assert 0 <= int(match[2]) <= 11
        assert match[1].split("_")[0] in {genus for genus, _ in rows}


def test_every_partner_is_a_genus_that_can_be_drawn() -> None:
    assert PARTNERS.keys() == ALONE.keys() == GENERA
    several = {genus for genus, count in Counter(species.genus for species in SPECIES).items() if count > 1}
    for genus, partners in PARTNERS.items():
        assert partners.keys() <= GENERA
        assert genus not in partners or genus in several


# The command.


@pytest.mark.parametrize("compress", [False, True])
def test_files_are_georeferenced_tiles_of_four_bands(compress: bool, tmp_path) -> None:
    written = generate.generate(settings(tmp_path, tiles=3, size=304, compress=compress))
    for index, name in enumerate(written):
        with rasterio.open(tmp_path / TILES / name) as file:
            assert (file.count, file.height, file.width) == (4, 304, 304)
            assert set(file.dtypes) == {"uint8"}
            assert file.nodata is None
            assert file.crs.to_epsg() == 25832
            assert file.res == (0.2, 0.2)
            assert 300_000 < file.bounds.left < 700_000
            assert 5_700_000 < file.bounds.bottom < 6_000_000
            assert file.compression == (rasterio.enums.Compression.deflate if compress else None)
            np.testing.assert_array_equal(np.moveaxis(file.read(), 0, 2), forests.render(0, index, 304).pixels)
        size = (tmp_path / TILES / name).stat().st_size
        assert size < 350_000 if compress else 0 <= size - 4 * 304 * 304 < 1000


def test_tiles_lie_beside_each_other_without_overlap(tmp_path) -> None:
    first, second = generate.generate(settings(tmp_path, tiles=2))
    with rasterio.open(tmp_path / TILES / first) as left, rasterio.open(tmp_path / TILES / second) as right:
        assert left.bounds.right == pytest.approx(right.bounds.left, abs=1e-6)
        assert left.bounds.top == right.bounds.top


def test_lists_divide_the_labelled_tiles_that_are_on_disk(tmp_path) -> None:
    generate.generate(settings(tmp_path, tiles=40, test_share=0.25))
    written = json.loads((tmp_path / LABELS).read_text())
    train, test = ((tmp_path / name).read_bytes().decode().split("\r\n") for name in LISTS)
    assert train.pop() == test.pop() == ""
    assert (len(train), len(test)) == (30, 10)
    assert train == sorted(train)
    assert test == sorted(test)
    assert sorted(train + test) == sorted(written) == sorted(path.name for path in (tmp_path / TILES).iterdir())


def test_number_of_processes_leaves_no_trace(tmp_path) -> None:
    generate.generate(settings(tmp_path / "one", tiles=60))
    generate.generate(settings(tmp_path / "two", tiles=60, processes=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 60 + 4


@pytest.mark.parametrize("compress", [False, True])
def test_stopped_command_leaves_no_labels_and_its_repetition_gives_the_same_bytes(
    compress: bool, monkeypatch, tmp_path
) -> None:
    generate.generate(settings(tmp_path / "whole", compress=compress))
    real, calls = generate.render, []

    def stop_at_the_tenth(*arguments):
        calls.append(arguments)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(generate, "render", stop_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        generate.generate(settings(tmp_path / "stopped", compress=compress))
    tiles = sorted((tmp_path / "stopped" / TILES).iterdir())
    assert len(tiles) == 9
    assert not any((tmp_path / "stopped" / name).exists() for name in (LABELS, *LISTS))

    tiles[0].write_bytes(tiles[0].read_bytes()[:-2000])
    tiles[1].write_bytes(b"")
    kept = {path: path.stat().st_mtime_ns for path in tiles[2:]}
    generate.generate(settings(tmp_path / "stopped", compress=compress))
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert len(calls) == 10 + (30 - 9) + 2


def test_killed_command_goes_on(tmp_path) -> None:
    out, arguments = tmp_path / "killed", ["--tiles", "1000", "--size", "64", "--processes", "2"]
    line = [sys.executable, "-m", "tools.generate", "--out", str(out), *arguments]
    with subprocess.Popen(line, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob(f"{TILES}/*.tif"))) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert 20 <= len(list(out.glob(f"{TILES}/*.tif"))) < 1000
    assert not (out / LABELS).exists()
    (out / TILES / ".Abies_alba_1_2_BI_NLF.tif.99999999.part").write_bytes(b"half a tile")
    generate.generate(settings(out, tiles=1000, size=64, processes=2))
    for path in (out / TILES).iterdir():
        index = int(path.name.split("_")[-3])
        if index < 60:
            with rasterio.open(path) as file:
                np.testing.assert_array_equal(np.moveaxis(file.read(), 0, 2), forests.render(0, index, 64).pixels)
    assert len(json.loads((out / LABELS).read_text())) == len(list((out / TILES).iterdir())) == 1000


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "seed is 1 here and 0 there"),
        ({"tiles": 31}, "tiles is 31 here and 30 there"),
        ({"size": 64}, "size is 64 here and 48 there"),
        ({"test_share": 0.2}, "test_share is 0.2 here and 0.1 there"),
        ({"compress": True}, "compress is True here and False there"),
    ],
)
def test_other_settings_on_the_same_folder_are_refused_by_name(changes, difference, tmp_path) -> None:
    generate.claim(settings(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"other settings \({difference}\)"):
        generate.generate(settings(tmp_path, **changes))
    assert contents(tmp_path) == before


def test_folder_of_somebody_else_is_refused_and_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not empty and was not generated here"):
        generate.generate(settings(tmp_path))
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}
    with pytest.raises(InputError, match="is a file"):
        generate.generate(settings(tmp_path / "thesis.txt"))
    (tmp_path / "generated.json").write_text("{")
    with pytest.raises(InputError, match=r"generated\.json is not readable"):
        generate.generate(settings(tmp_path))


def test_full_disk_is_one_line_and_leaves_no_part_of_a_file(monkeypatch, tmp_path) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    generate.claim(settings(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write to .*No space left on device.*free some"):
        generate.generate(settings(tmp_path))
    assert list(contents(tmp_path)) == ["generated.json"]


def test_stopping_says_how_to_go_on(monkeypatch, tmp_path, capsys) -> None:
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "render", stop)
    assert run(monkeypatch, generate.main, "--out", tmp_path / "out", "--tiles", 4, "--processes", 1) == 130
    assert capsys.readouterr().err == "\nstopped; the same command goes on with the tiles that are missing\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tiles", "1"], "--tiles is 1: it must be at least 2"),
        (["--seed", "-1"], "--seed is -1: it must be at least 0"),
        (["--size", "16"], "--size is 16: it must be at least 32"),
        (["--size", "30000"], "--size is 30000: it must be at most 8192"),
        (["--processes", "-2"], "--processes is -2: it must be at least 0"),
        (["--test-share", "0"], "--test-share is 0.0: it must lie between 0 and 1"),
        (["--test-share", "nan"], "--test-share is nan: it must lie between 0 and 1"),
    ],
)
def test_bad_setting_is_one_line_and_status_2(arguments, message, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, generate.main, "--out", tmp_path / "out", *arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "out").exists()


def test_closing_report_counts_genera_and_disk_space(monkeypatch, tmp_path, capsys) -> None:
    arguments = ["--out", tmp_path / "out", "--tiles", 20, "--size", SIZE, "--processes", 1]
    assert run(monkeypatch, generate.main, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    written = json.loads((tmp_path / "out" / LABELS).read_text())
    counts: Counter[str] = Counter()
    for rows in written.values():
        sums: dict[str, float] = {}
        for genus, area in rows:
            sums[genus] = sums.get(genus, 0.0) + area
        counts.update([genus for genus, area in sums.items() if area > 0.07] or ["none"])
    said = {line.split()[0]: int(line.split()[1]) for line in lines[:-1]}
    assert said == {"none": 0, **counts}
    assert lines[-1] == f"{tmp_path / 'out'}: 20 tiles, 0 MB"


def test_help_explains_every_setting(monkeypatch, capsys) -> None:
    assert run(monkeypatch, generate.main, "--help") == 0
    text = re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().out)
    for flag in ("--out", "--tiles", "--seed", "--test-share", "--size", "--compress", "--processes"):
        assert re.search(rf"{flag}\b[^()]*\w+ \w+ \w+[^()]*(\(required\)|\(default: )", text)
    assert "python -m tools.generate --out data/forests --tiles 2000" in text


def test_drawing_processes_end_with_the_command(tmp_path) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--tiles", "4000", "--size", "64", "--processes", "2"]
    command = [sys.executable, "-m", "tools.generate", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.tif")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
    while (others := session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not others


def session(number: int) -> list[int]:
    """The processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == number and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found
