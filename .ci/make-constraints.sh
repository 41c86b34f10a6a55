#!/bin/sh
# Write constraints.txt anew: the newest version of everything that [dev] needs, for this Python.
#
#   make constraints && make clean && make check      # then keep it, or not
set -eu

SOURCE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

"${PYTHON:-python3}" -m venv "$directory"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$SOURCE[dev]"
{
	sed -n '/^#/p' "$SOURCE/constraints.txt"
	"$directory/bin/python" -m pip freeze --disable-pip-version-check --exclude presenced
} >"$directory/constraints.txt"
mv "$directory/constraints.txt" "$SOURCE/constraints.txt"
