#!/bin/sh
# Lint, types and tests, from nothing: sh tools/test.sh [--quick] [options of pytest]
# --quick leaves out what compiles networks, starts processes or decodes many tiles: under a minute, for every change.
set -eu
cd "$(dirname "$0")/.."
. tools/environment.sh
aljax_environment test
quick=
if [ "${1:-}" = --quick ]; then
    shift
    quick="tests/package tests/queries/test_scores.py tests/queries/test_selection.py tests/queries/test_shortlist.py
        tests/reports/test_comparison.py tests/data/test_labels.py tests/networks/test_losses.py tests/loop/test_pool.py
        tests/loop/test_history.py tests/loop/test_metrics.py"
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# Two processes: compiling, which most of the time goes into, uses one core.
# shellcheck disable=SC2086 (several folders)
exec "$python" -m pytest -n 2 $quick "$@"
