#!/bin/sh
# modAL 0.4.2.1: min_confidence, a query for several labels, chooses a tile of whose classes the classifier is sure.
#
# One would guess that it takes the tile with the class that the classifier is least sure about, near one half. It takes
# the smallest probability of any class as the confidence, and the tile where that is smallest: the one that has some
# class most surely not. With several labels nearly every tile lacks a class for sure, so a tile that is sure throughout
# comes before one at one half.
#
# Why it matters: it is one of the few ready queries for several labels, and a comparison with it says nothing about
# uncertainty.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet modAL-python==0.4.2.1 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys
from importlib.metadata import version

import numpy as np
from modAL.multilabel import min_confidence
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

rng = np.random.default_rng(0)
features = rng.normal(size=(60, 3))
classifier = OneVsRestClassifier(LogisticRegression(C=100.0)).fit(features, (features > 0).astype(int))
pool = np.array([[3.0, 3.0, -3.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.05]])
probabilities = classifier.predict_proba(pool)
chosen = int(np.ravel(min_confidence(classifier, pool)[0])[0])
print("modAL", version("modAL-python"), "probabilities", probabilities.round(2).tolist(), "chosen", chosen)
surest = int(np.abs(probabilities - 0.5).min(1).argmax())
if chosen != surest:
    sys.exit("changed: the surest tile is not chosen")
END
