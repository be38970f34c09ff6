#!/bin/sh
# Lint, types and tests, from nothing: sh tools/test.sh [options of pytest]
set -eu
cd "$(dirname "$0")/.."
. tools/environment.sh
aljax_environment test
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# Two processes: compiling, which most of the time goes into, uses one core.
exec "$python" -m pytest -n 2 "$@"
