#!/bin/sh
# modAL 0.4.2.1: SVM_binary_minimum with random_tie_break=True chooses the surest tile in place of the least sure one.
#
# The query for several labels takes the tile with the class nearest its separating plane. One would guess that
# random_tie_break=True draws among equally good tiles, as its documentation says, and changes nothing where none are
# equal. It turns the order round: the tile whose nearest plane is farthest is chosen, the one that needs a label least.
#
# Why it matters: ties are broken at random so that the order of the files plays no part. A comparison of queries that does
# so has this one below random choice.
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
from modAL.models import ActiveLearner
from modAL.multilabel import SVM_binary_minimum
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

rng = np.random.default_rng(0)
features = rng.normal(size=(60, 2))
learner = ActiveLearner(OneVsRestClassifier(LinearSVC()), X_training=features, y_training=(features > 0).astype(int))
pool = np.array([[2.0, 2.0], [-3.0, 2.5], [0.01, 3.0], [4.0, 4.0], [1.0, -1.0]])
nearest = np.abs(learner.estimator.decision_function(pool)).min(1)
plain = int(np.ravel(SVM_binary_minimum(learner, pool))[0])
drawn = int(np.ravel(SVM_binary_minimum(learner, pool, random_tie_break=True)[0])[0])
print("modAL", version("modAL-python"), "distances to the nearest plane", nearest.round(2).tolist())
print(f"chosen: {plain} (distance {nearest[plain]:.2f}), with random_tie_break {drawn} ({nearest[drawn]:.2f})")
if plain != nearest.argmin() or drawn != nearest.argmax():
    sys.exit("changed: breaking ties does not reverse the query")
END
