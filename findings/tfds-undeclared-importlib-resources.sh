#!/bin/sh
# TensorFlow Datasets 4.9.10: a builder works in a script and fails in a package, for want of importlib_resources.
#
# tensorflow-datasets reads and writes array_record files without TensorFlow, and pip installs what that needs. One
# would guess that a builder which prepares an archive in a script or a notebook does so from anywhere. Moved into a
# module of a package, it raises ModuleNotFoundError: there the library imports importlib_resources, a package that it
# does not declare. Where anything else has brought that along, as a developer's machine often has, nothing shows.
#
# Why it matters: preparing an archive works for who wrote the builder, and not for who installs it. Whoever ships one
# has to declare importlib-resources.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-datasets==4.9.10 array-record==0.8.6 numpy==2.4.6
cd "$folder"
export TMPDIR="$folder" # importing the library leaves an empty folder there
mkdir archives
touch archives/__init__.py
cat > archives/tiles.py <<'END'
"""Five tiles of three pixels."""

import numpy as np
import tensorflow_datasets as tfds


class Tiles(tfds.core.GeneratorBasedBuilder):
    """The smallest archive."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        tile = tfds.features.Tensor(shape=(3,), dtype=np.uint8)
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"tile": tile}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(5):
            yield number, {"tile": np.full(3, number, np.uint8)}
END
cat > prepare.py <<'END'


def prepare(builder):
    archive = builder(data_dir="prepared", file_format="array_record")
    archive.download_and_prepare()
    print(len(archive.as_data_source(split="train")), "tiles")
END
cat archives/tiles.py prepare.py > script.py
echo 'prepare(Tiles)' >> script.py
cat prepare.py > module.py
echo 'from archives.tiles import Tiles' >> module.py
echo 'prepare(Tiles)' >> module.py
python=venv/bin/python
"$python" -c 'from importlib.metadata import version; print("tensorflow-datasets", version("tensorflow-datasets"))'
if "$python" -c 'import importlib_resources' 2> /dev/null; then
    echo "changed: installing tensorflow-datasets brings importlib_resources along" >&2
    exit 1
fi
echo "in a script: $("$python" script.py 2> /dev/null | tail -n 1)"
rm -r prepared
if "$python" module.py > /dev/null 2> module.log; then
    echo "changed: a builder in a package needs no importlib_resources" >&2
    exit 1
fi
echo "in a package: $(tail -n 1 module.log)"
grep -q "No module named 'importlib_resources'" module.log
venv/bin/pip install --quiet importlib-resources==7.1.0
echo "with importlib-resources: $("$python" module.py 2> /dev/null | tail -n 1)"
