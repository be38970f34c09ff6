#!/bin/sh
# safetensors 0.8.0: the same tensors and the same metadata give other bytes each time.
#
# A safetensors file is a short header and the numbers. It holds no time and no name of a machine, and the tensors stand
# in a fixed order: one would guess that the same content gives the same file. Its entries of metadata come in an order
# that is drawn anew at every call. Only with one entry, or none, is the file always the same.
#
# Why it matters: weights to start from are known by their SHA-256, and a run says by it which ones it began with. Two
# files with the same weights would count as two. (Several facts fit into one entry, as JSON.)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

print("safetensors", safetensors.__version__)
tensors = {"kernel": np.ones((3, 3), np.float32), "bias": np.zeros(3, np.float32)}
facts = {"bands": "IR,G,B,R", "normalisation": "standardise", "source": "densenet121", "format": "2"}
several = [save(tensors, facts) for _ in range(40)]
one = [save(tensors, {"facts": str(facts)}) for _ in range(40)]
assert all(np.array_equal(load(file)["kernel"], tensors["kernel"]) for file in several)
print("files that differ, of 40 with the same four entries of metadata:", len(set(several)))
print("files that differ, of 40 with one entry:", len(set(one)))
if len(set(several)) == 1:
    sys.exit("changed: several entries come in one order")
if len(set(one)) != 1:
    sys.exit("changed: files with one entry differ, too")
END
