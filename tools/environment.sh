# Sourced by the scripts beside it: makes .venv if it is missing and installs aljax with the extras in $1.
# Leaves the environment's interpreter in $python. Installs again only when pyproject.toml has changed.

aljax_environment() {
    if ! .venv/bin/python -c '' 2>/dev/null; then
        for candidate in python3.12 python3.13 python3.11 python3 python; do
            if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
                base=$candidate
                break
            fi
        done
        if [ -z "${base:-}" ]; then
            echo "error: no Python 3.11, 3.12 or 3.13 found (with the venv module): install one and run this again" >&2
            exit 2
        fi
        echo "making .venv with $("$base" --version)"
        "$base" -m venv --clear .venv || exit 1
    fi
    python=.venv/bin/python
    wanted="$(cksum < pyproject.toml) $1"
    stamp=".venv/installed-${1:-plain}"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing aljax and what it needs into .venv (about 1 GB, a minute or two)"
        "$python" -m pip install --quiet --disable-pip-version-check --editable ".${1:+[$1]}" || exit 1
        echo "$wanted" > "$stamp"
    fi
}
