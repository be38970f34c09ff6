#!/bin/sh
# Active learning on generated land-use scenes, from nothing: sh tools/quickstart.sh [options of experiments.quickstart]
set -eu
cd "$(dirname "$0")/.."
. tools/environment.sh
aljax_environment ""
exec "$python" -m experiments.quickstart "$@"
