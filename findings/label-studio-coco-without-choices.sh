#!/bin/sh
# label-studio-sdk 2.1.2 (the converter of Label Studio 1.23.2): COCO of a project with choices has the wrong images.
#
# Three images are labelled with choices: trees, trees and water, and none. COCO can hold labels of whole images, so one
# would guess that the export has three images and three annotations, or says that it cannot be. It has the categories,
# no annotations, and of the images only the third, for which nothing was chosen: those with labels are left out. The
# converter logs a line for each; the server, which answers the request for a COCO export of such a project with a zip,
# shows nothing.
#
# Why it matters: the file is valid, and a reader that takes an image without annotations for one without classes learns
# that no tile shows anything, from the tiles that do not matter most.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
cd "$folder"
venv/bin/python - <<'END'
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter

logging.disable(logging.ERROR)
print("label-studio-sdk", version("label-studio-sdk"))
CONFIG = """<View><Image name="image" value="$image"/><Choices name="classes" toName="image" choice="multiple">
<Choice value="trees"/><Choice value="water"/></Choices></View>"""


def task(number, *classes):
    result = {"from_name": "classes", "to_name": "image", "type": "choices", "value": {"choices": [*classes]}}
    annotation = {"id": number, "completed_by": 1, "result": [result] if classes else []}
    return {"id": number, "data": {"image": f"https://example.org/{number}.png"}, "annotations": [annotation]}


tasks = [task(1, "trees"), task(2, "trees", "water"), task(3)]
Path("tasks.json").write_text(json.dumps(tasks))
converter = Converter(CONFIG, "tasks", download_resources=False)
converter.convert_to_coco("tasks.json", "coco", output_image_dir="coco/images", is_dir=False)
found = json.loads(Path("coco/result.json").read_text())
images = [image["file_name"].rpartition("_")[2] for image in found["images"]]
print("categories:", [category["name"] for category in found["categories"]])
print("images:", images, "annotations:", found["annotations"])
if images != ["3.png"] or found["annotations"]:
    sys.exit("changed: the images with choices are there, or have annotations")
END
