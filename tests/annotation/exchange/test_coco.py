"""COCO with labels of whole images, as Datumaro 1.13.12 writes them."""

import json
import zipfile
from pathlib import Path

import pytest
from exchanged import CLASSES, cells, write_json

IDS = {name: number for number, name in enumerate((*CLASSES, "answered"), start=1)}


def coco(images: list[str], labels: list[tuple[int, str]], unsure: tuple[int, ...] = ()) -> dict:
    return {
        "info": {"contributor": ""},
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in IDS.items()],
        "images": [
            {"id": number, "width": 16, "height": 16, "file_name": name} for number, name in enumerate(images, start=1)
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": IDS[name], "attributes": {"unsure": n in unsure}}
            for n, (image, name) in enumerate(labels)
        ],
    }


@pytest.fixture
def take(exchange, tmp_path):
    def take(content: object) -> tuple[int, str]:
        status, _, error = exchange("import", "--from", "coco", write_json(tmp_path / "labels.json", content))
        return status, error

    return take


def test_labels_of_images_fill_in_the_form(take, names, run_dir) -> None:
    images = [f"images/{names('a.tif')[:-4]}.jpg", names("b.tif"), names("north/a.tif"), f"ab__{names('e.tif')}"]
    labels = [(1, CLASSES[0]), (1, CLASSES[4]), (2, "answered"), (4, "1"), (4, CLASSES[1])]
    assert take(coco(images, labels, unsure=(1,))) == (0, "")
    found = cells(run_dir)
    assert found["a.tif"] == ["1", "0", "0", "0", "?"]
    assert found["b.tif"] == ["0"] * 5
    assert found["north/a.tif"] == [""] * 5
    assert found["e.tif"] == ["0", "1", "1", "0", "0"]


def test_files_named_as_the_tiles_are_known_too(take, run_dir) -> None:
    assert take(coco(["north/é ü.tif"], [(1, "1")])) == (0, "")
    assert cells(run_dir)["north/é ü.tif"] == ["0", "0", "1", "0", "0"]


def test_the_zip_of_label_studio_has_no_choices_and_is_refused(exchange, names, tmp_path: Path) -> None:
    content = coco([f"images/c8672ac2__{names('a.tif')}"], [])
    content["info"]["contributor"] = "Label Studio"
    with zipfile.ZipFile(tmp_path / "coco.zip", "w") as file:
        file.writestr("result.json", json.dumps(content))
    status, _, error = exchange("import", "--from", "coco", tmp_path / "coco.zip")
    assert (status, "coco.zip is by Label Studio, whose COCO leaves choices out: export JSON" in error) == (2, True)


def test_bad_files_are_one_line(take, names) -> None:
    strange = coco([names("a.tif")], [(1, "1")])
    strange["categories"][2]["name"] = "gras"
    assert "the class 'gras' is unknown to the round" in take(strange)[1]
    assert "is no tile of" in take(coco(["x.png"], []))[1]
    assert take([])[1].endswith("is no COCO file with categories for images: name the file of an export\n")
    missing = coco([names("a.tif")], [(2, "1")])
    assert "is no COCO file with categories for images" in take(missing)[1]
    assert "tile a.tif has two answers" in take(coco([names("a.tif")] * 2, [(1, "1"), (2, "[x]")]))[1]
