"""COCO with labels of whole images: annotations that have a category and an image, as Datumaro writes them.

An image without annotations is not answered; with the label "answered" alone, it shows no class. An attribute `unsure`
says that the annotator is not sure.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from aljax.annotation.exchange.answers import Answer, Source, answer_of_labels, check_names
from aljax.annotation.exchange.cvat import UNSURE
from aljax.annotation.exchange.reading import read_json
from aljax.annotation.exchange.rounds import Round
from aljax.errors import InputError

LABEL_STUDIO = "Label Studio"


def read(path: Path, round_: Round) -> list[Answer]:
    """The answers in a file. Raises InputError for what does not fit the round."""
    check_names(round_.class_names)
    content = read_json(path)
    try:
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        labels = [
            (annotation["image_id"], annotation["category_id"], annotation) for annotation in content["annotations"]
        ]
        by_image: dict[Any, list[tuple[str, bool]]] = defaultdict(list)
        for image, category, annotation in labels:
            is_unsure = bool((annotation.get("attributes") or {}).get(UNSURE))
            by_image[image].append((names[category], is_unsure))
        files = [images[image] for image in by_image]
    except (TypeError, AttributeError) as error:
        raise InputError(f"{path} is no COCO file with categories for images: name the file of an export") from error
    except KeyError as error:
        raise InputError(f"{path} is no COCO file with categories for images ({error}): export it again") from error
    _check_maker(path, content, bool(labels))
    tiles = round_.find_tiles(images.values(), path)
    found = []
    for file, chosen in zip(files, by_image.values(), strict=True):
        source = Source(tiles[file], f"{path}, image {file}")
        unsure = {name for name, is_unsure in chosen if is_unsure}
        found.append(answer_of_labels(source, round_.class_names, {name for name, _ in chosen}, unsure))
    return found


def _check_maker(path: Path, content: dict[str, Any], has_labels: bool) -> None:
    """Raises InputError for a file of Label Studio, whose COCO has boxes and outlines, and leaves choices out."""
    if not has_labels and (content.get("info") or {}).get("contributor") == LABEL_STUDIO:
        raise InputError(
            f"{path} is by Label Studio, whose COCO leaves choices out: export JSON, and give --from label-studio"
        )
