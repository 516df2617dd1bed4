#!/bin/sh
# Fills a venv with pinned packages and installs ecogate in place: install.sh VENV REQUIREMENTS
# Uses uv when $UV names it, and venv + pip when there is none or uv cannot reach its index.
set -eu
venv=$1 requirements=$2

say() { printf '%s\n' "$*" >&2; }

with_uv() {
    [ -n "${UV:-}" ] || return 1
    [ -x "$venv/bin/python" ] || "$UV" venv --quiet --seed --python "$PYTHON" "$venv" || return 1
    say "installing $requirements with uv"
    "$UV" pip install --quiet --python "$venv/bin/python" --require-hashes -r "$requirements" &&
        "$UV" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --offline -e .
}

with_pip() {
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m venv --clear "$venv" || {
            say "cannot create a venv with $PYTHON; on Debian and Ubuntu, install python3-venv"
            exit 1
        }
    fi
    say "installing $requirements with pip (about half a minute the first time)"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$requirements"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation -e .
}

with_uv || with_pip
