#!/bin/sh
# Make a virtual environment for working in this checkout:  PYTHON=python3 .ci/make-venv.sh DIRECTORY EXTRA
#
# EXTRA is one of pyproject.toml's: `cluster` for a daemon, alone or one of several, `dev` for the tests, too. Run by
# `make run` and `make test`.
set -eu

SOURCE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
directory=$1 extra=$2

# Say why this Python will not do and what to do about it, before anything is made.
if ! reason=$("$PYTHON" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit("is Python %d.%d.%d, and presenced needs 3.11 or newer" % sys.version_info[:3])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv (on Debian: apt install python3-venv)")
' 2>&1); then
	echo "make: $PYTHON ${reason:-cannot be run}" >&2
	for other in python3.14 python3.13 python3.12 python3.11; do
		if "$other" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			echo "make: this machine has $other: say make PYTHON=$other run, or test" >&2
			exit 1
		fi
	done
	echo "make: install a newer one (on Debian 12, Ubuntu 24.04 or later: apt install python3-venv) and name it with" >&2
	echo "make: PYTHON=/path/to/python3" >&2
	exit 1
fi

case $extra in
cluster) what="presenced and the libraries of its server" ;;
*) what="presenced, the libraries of its server, and what the tests need" ;;
esac
echo "make: installing $what into $directory (once, from the package index)" >&2
"$PYTHON" -m venv "$directory"
# What is imported is compiled then; to compile all of it here would take as long as a third of the rest.
install() {
	"$directory/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "$@" -e "$SOURCE[$extra]"
}
# An index need not have the very versions that the tests have passed with; to try things out others will do.
install -c "$SOURCE/constraints.txt" || {
	echo "make: the versions of constraints.txt cannot be had; taking the newest of everything instead" >&2
	install
}
echo "make: installed" >&2
