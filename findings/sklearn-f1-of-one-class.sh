#!/bin/sh
# scikit-learn 1.9.1: the F1 scores of labels with one column are those of two classes.
#
# f1_score takes labels (tiles, classes) of 0 and 1. With average=None it gives a score per column, with "micro" or
# "macro" one for all. One would guess that a single column gives a single score, the same in all three ways. One
# column is taken for the classes 0 and 1: average=None gives two scores, the first of which is how well the absence of
# the class is found; "macro" is their mean, and "micro" is the accuracy, which is high for any rare class.
#
# Why it matters: archives with one class (clouds, mines, solar panels), and code that scores classes one at a time as
# labels[:, [k]], get flattering numbers. Twice the same column scores as one would expect.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'END'
import sys

import numpy as np
import sklearn
from sklearn.metrics import f1_score

print("scikit-learn", sklearn.__version__)
# Two of ten tiles show the class; one is found, and one other is taken for it: F1 is 0.5.
labels, predicted = np.zeros((2, 10, 1), np.uint8)
labels[[0, 1]] = 1
predicted[[1, 2]] = 1
found = {}
for columns in (1, 2):
    for average in (None, "micro", "macro"):
        scores = f1_score(np.tile(labels, columns), np.tile(predicted, columns), average=average)
        found[columns, average] = np.atleast_1d(scores).tolist()
        print(f"columns {columns}, average {average}: {found[columns, average]}")
if [found[2, average] for average in (None, "micro", "macro")] != [[0.5, 0.5], [0.5], [0.5]]:
    sys.exit("changed: the scores of two equal columns")
if len(found[1, None]) != 2 or found[1, "micro"] != [0.8] or not np.isclose(found[1, "macro"][0], 0.6875):
    sys.exit("changed: one column is no longer taken for two classes")
END
