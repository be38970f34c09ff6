"""CVAT for images 1.1, with a tag for each class of a tile.

CVAT does not say whether somebody has looked at an image without tags, so a label "answered" does; it also confirms
predictions that are there already. A class that the annotator is not sure of has the attribute `unsure`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from aljax.annotation.exchange.answers import ANSWERED, SKIP, Answer, Source, answer_of_labels, check_names
from aljax.annotation.exchange.reading import read_xml
from aljax.annotation.exchange.rounds import Round
from aljax.errors import InputError

UNSURE = "unsure"
BY_HAND = "manual"  # the source of a tag that a person has set


def labels(class_names: Sequence[str]) -> str:
    """The labels of a task, for the tab Raw of its constructor. Raises InputError for a class of a reserved name."""
    check_names(class_names)
    unsure = {"name": UNSURE, "input_type": "checkbox", "mutable": False, "values": ["false"], "default_value": "false"}
    tags = [{"name": name, "type": "tag", "attributes": [unsure]} for name in class_names]
    return json.dumps(
        [*tags, *({"name": name, "type": "tag", "attributes": []} for name in (ANSWERED, SKIP))], indent=1
    )


def annotations(
    pictures: Mapping[str, tuple[str, int, int]], class_names: Sequence[str], predicted: Mapping[str, Sequence[str]]
) -> str:
    """The file to upload, from name, width and height of each tile's picture and the classes predicted for some."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = "aljax"
    SubElement(task, "size").text = str(len(pictures))
    SubElement(task, "mode").text = "annotation"
    listed = SubElement(task, "labels")
    for name in (*class_names, ANSWERED, SKIP):
        _add_label(listed, name, name in class_names)
    for number, (tile, (name, width, height)) in enumerate(pictures.items()):
        image = SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        for label in predicted.get(tile, ()):
            tag = SubElement(image, "tag", label=label, source="auto")
            SubElement(tag, "attribute", name=UNSURE).text = "false"
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _add_label(listed: Element, name: str, is_class: bool) -> None:
    label = SubElement(listed, "label")
    SubElement(label, "name").text = name
    SubElement(label, "type").text = "tag"
    attributes = SubElement(label, "attributes")
    if is_class:
        unsure = SubElement(attributes, "attribute")
        fields = {"name": UNSURE, "mutable": "False", "input_type": "checkbox", "default_value": "false"}
        for field, value in {**fields, "values": "false"}.items():
            SubElement(unsure, field).text = value


def read(path: Path, round_: Round) -> list[Answer]:
    """The answers in an export. Raises InputError for what does not fit the round."""
    check_names(round_.class_names)
    root = read_xml(path)
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise InputError(f"{path} has no images: export the format CVAT for images 1.1")
    tiles = round_.find_tiles((image.get("name", "") for image in images), path)
    found = []
    for image in images:
        tags = image.findall("tag")
        if is_answered(tags):
            name = image.get("name", "")
            source = Source(tiles[name], f"{path}, image {name}")
            chosen = {tag.get("label", "") for tag in tags}
            unsure = {tag.get("label", "") for tag in tags if _is_unsure(tag)}
            found.append(answer_of_labels(source, round_.class_names, chosen, unsure))
    return found


def is_answered(tags: Sequence[Element]) -> bool:
    """Whether a person has set a tag of an image; what was predicted is no answer until somebody says so."""
    return any(tag.get("label") in (ANSWERED, SKIP) or tag.get("source", BY_HAND) == BY_HAND for tag in tags)


def _is_unsure(tag: Element) -> bool:
    return any(field.get("name") == UNSURE and field.text == "true" for field in tag.findall("attribute"))
