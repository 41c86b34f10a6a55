#!/bin/sh
# Install presenced for systemd, or upgrade it:  PREFIX=/usr/local DESTDIR= PYTHON= CONSTRAINTS= systemd/install.sh
#
# Libraries come in the versions of constraints.txt, with which the tests have passed; CONSTRAINTS=/dev/null takes the
# newest that pyproject.toml allows, and CONSTRAINTS=FILE those of another list.
#
# The program goes into a virtual environment of its own, PREFIX/lib/presenced; it is built beside the installed one and
# takes its place when it is complete, so that a failed build leaves everything as it was. /etc/presenced is written
# once and never again. Run by `make install`.
set -eu
umask 022

SOURCE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
CONSTRAINTS=${CONSTRAINTS:-$SOURCE/constraints.txt}

fail() {
	echo "install: $*" >&2
	exit 1
}

# Whether the service may not see the path: the units say ProtectHome=yes.
in_a_home() {
	case $1/ in
	/home/* | /root/* | /run/user/*) return 0 ;;
	*) return 1 ;;
	esac
}

# Print the real path of the interpreter $1 if the service can run with it, else say why not and return 1.
usable_python() {
	"$1" -c '
import os, sys
if sys.version_info < (3, 11):
    sys.exit(f"is Python {sys.version.split()[0]}; 3.11 or newer is needed")
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv (on Debian: apt install python3-venv)")
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
' 2>&1
}

choose_python() {
	refused=
	for candidate in ${PYTHON:-python3 /usr/local/bin/python3 /usr/bin/python3}; do
		if said=$(usable_python "$candidate"); then
			if ! in_a_home "$said"; then
				echo "$said"
				return
			fi
			said="$said is in a home directory, where the service cannot see it"
		fi
		refused="$refused
  $candidate: $said"
	done
	fail "no Python that the service could use; name another with PYTHON=/path/to/python3$refused"
}

# Build the program in the staging directory, as if it were already in its place.
build() {
	rm -rf "$stage"
	mkdir -p "$stage"
	"$python" -m venv --without-pip "$stage/new"
	with_pip=$python
	# Its own pip will do if it is there and knows --python (22.3); a virtual environment for another takes seconds.
	if ! "$with_pip" -m pip --python "$stage/new/bin/python" --version >/dev/null 2>&1; then
		"$python" -m venv "$stage/tools"
		with_pip=$stage/tools/bin/python
	fi
	"$with_pip" -m pip --disable-pip-version-check --python "$stage/new/bin/python" \
		install --quiet --no-compile --no-warn-script-location -c "$CONSTRAINTS" "$SOURCE[cluster]"
	# Where it was built from is nobody's business.
	find "$stage/new" -name direct_url.json -path '*/presenced-*' -delete
	# The scripts name the place of the interpreter, which is not the staging directory.
	grep -rlIF -- "$stage/new" "$stage/new/bin" "$stage/new/pyvenv.cfg" |
		while read -r file; do sed -i "s#$stage/new#$place#g" "$file"; done
	# Compiled now, since the service may not write here.
	compiled=$stage/new/lib
	"$stage/new/bin/python" -m compileall -q -s "$stage/new" -p "$place" "$compiled"/python*/site-packages/presenced
	"$stage/new/bin/python" -m compileall -qq -s "$stage/new" -p "$place" "$compiled" || true
}

put_program() {
	mkdir -p "$DESTDIR$PREFIX/bin"
	trap '' INT TERM HUP
	if [ $upgrade = yes ]; then mv "$DESTDIR$place" "$stage/old"; fi
	mv "$stage/new" "$DESTDIR$place" || { if [ $upgrade = yes ]; then mv "$stage/old" "$DESTDIR$place"; fi; exit 1; }
	trap - INT TERM HUP
	for command in presenced presencectl; do
		ln -sfn "../lib/presenced/bin/$command" "$DESTDIR$PREFIX/bin/$command"
	done
}

put() { # put SOURCE TARGET: with @PREFIX@ replaced
	mkdir -p "$(dirname "$DESTDIR$2")"
	sed "s#@PREFIX@#$PREFIX#g" "$SOURCE/$1" >"$DESTDIR$2.new"
	chmod 644 "$DESTDIR$2.new"
	mv "$DESTDIR$2.new" "$DESTDIR$2"
}

put_units() {
	for unit in presenced.service presenced@.service presenced.socket; do
		put "systemd/$unit" "$PREFIX/lib/systemd/system/$unit"
	done
	put systemd/presenced.sysusers.conf "$PREFIX/lib/sysusers.d/presenced.conf"
	put systemd/presenced.tmpfiles.conf "$PREFIX/lib/tmpfiles.d/presenced.conf"
	for drop_in in admin-group dynamic-user loopback-only memory node; do
		put "systemd/drop-ins/$drop_in.conf" "$PREFIX/share/presenced/drop-ins/$drop_in.conf"
	done
	for page in README.md protocol.md; do
		put "$page" "$PREFIX/share/doc/presenced/$page"
	done
}

# Filter of the commented configuration: in section [$1], say $3 instead of what is commented out for key $2.
with_key() {
	awk -v section="[$1]" -v key="#$2 = " -v line="$3" '
		/^\[/ { here = $0 == section }
		here && index($0, key) == 1 { print line; found = 1; next }
		{ print }
		END { if (!found) { print "install: no " section " " key " in the configuration" >"/dev/stderr"; exit 1 } }'
}

# What the units take for granted, on top of the defaults.
configuration() {
	"$DESTDIR$place/bin/python" -m presenced config default >"$stage/default.toml" &&
		with_key auth secret_file 'secret_file = "/etc/presenced/secret"' <"$stage/default.toml" >"$stage/1.toml" &&
		with_key storage directory 'directory = "auto"' <"$stage/1.toml" >"$stage/2.toml" &&
		with_key admin socket 'socket = "auto"' <"$stage/2.toml" >"$stage/3.toml" &&
		with_key http address 'address = "127.0.0.1:5251"' <"$stage/3.toml" >"$stage/4.toml" &&
		with_key visibility grounds 'grounds = ["contacts"]' <"$stage/4.toml"
}

put_configuration() {
	mkdir -p "$DESTDIR/etc/presenced"
	if [ ! -e "$DESTDIR/etc/presenced/presenced.toml" ]; then
		configuration >"$stage/presenced.toml"
		mv "$stage/presenced.toml" "$DESTDIR/etc/presenced/presenced.toml"
	fi
	if [ ! -e "$DESTDIR/etc/presenced/secret" ]; then
		(
			umask 077
			head -c 48 /dev/urandom | base64 >"$DESTDIR/etc/presenced/secret.new"
		)
		mv "$DESTDIR/etc/presenced/secret.new" "$DESTDIR/etc/presenced/secret"
	fi
}

# Tell this machine; with DESTDIR the package's own scripts do so.
put_into_force() {
	systemd-sysusers "$PREFIX/lib/sysusers.d/presenced.conf"
	systemd-tmpfiles --create "$PREFIX/lib/tmpfiles.d/presenced.conf"
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

case $PREFIX in
/*) ;;
*) fail "PREFIX must be an absolute path, not $PREFIX" ;;
esac
case $PREFIX$DESTDIR in
*[!A-Za-z0-9/._+,@=-]*) fail "PREFIX and DESTDIR may have neither white space nor special characters in them" ;;
esac
if in_a_home "$PREFIX"; then fail "PREFIX=$PREFIX is in a home directory, where the service cannot see it"; fi
if [ -z "$DESTDIR" ]; then
	if [ "$(id -u)" != 0 ]; then fail "needs root: sudo make install (or give DESTDIR)"; fi
	for command in systemd-sysusers systemd-tmpfiles; do
		command -v $command >/dev/null || fail "$command is missing: this is for machines with systemd (or give DESTDIR)"
	done
fi

place=$PREFIX/lib/presenced
stage=$DESTDIR$PREFIX/lib/.presenced.new
python=$(choose_python)
upgrade=no
if [ -e "$DESTDIR$place" ]; then upgrade=yes; fi
trap 'rm -rf "$stage"' EXIT

build
put_program
put_units
put_configuration
if [ -n "$DESTDIR" ]; then
	echo "Installed into $DESTDIR for $PREFIX. On the target: systemd-sysusers && systemd-tmpfiles --create."
	exit
fi
put_into_force

case $PREFIX in
/usr | /usr/local) ;;
*) echo "systemd does not look into $PREFIX; once: systemctl link $PREFIX/lib/systemd/system/presenced.service" ;;
esac
if [ $upgrade = yes ]; then
	echo "Upgraded. /etc/presenced is as it was. Now: systemctl restart presenced"
	if grep -qs '^ *secret_file *= *"credential:auth-secret"' /etc/presenced/*.toml; then
		echo 'A new secret needs a restart as long as secret_file is "credential:auth-secret"; with the path of the file a reload will do.'
	fi
else
	cat <<END
Installed. Now:
  \$EDITOR /etc/presenced/presenced.toml          # where to listen, TLS, times
  systemctl enable --now presenced
  systemctl status presenced
  presenced token --user alice --secret-file /etc/presenced/secret    # for a client
END
fi
