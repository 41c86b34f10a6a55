#!/bin/sh
# Take away what install.sh put there: PREFIX=/usr/local DESTDIR= systemd/uninstall.sh
# The configuration, the secret, the state and the user stay. Run by `make uninstall`.
set -eu

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}

if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then
	echo "uninstall: needs root: sudo make uninstall (or give DESTDIR)" >&2
	exit 1
fi

running=no
if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
	running=yes
	systemctl disable --now --quiet presenced.socket presenced.service 2>/dev/null || true
	systemctl stop --quiet 'presenced@*.service' || true
	# Of the template: every instance that was enabled.
	systemctl disable --quiet presenced@.service 2>/dev/null || true
fi

for command in presenced presencectl; do
	rm -f "$DESTDIR$PREFIX/bin/$command"
done
for unit in presenced.service presenced@.service presenced.socket; do
	rm -f "$DESTDIR$PREFIX/lib/systemd/system/$unit"
done
rm -f "$DESTDIR$PREFIX/lib/sysusers.d/presenced.conf" "$DESTDIR$PREFIX/lib/tmpfiles.d/presenced.conf"
rm -rf "$DESTDIR$PREFIX/lib/presenced" "$DESTDIR$PREFIX/share/presenced" "$DESTDIR$PREFIX/share/doc/presenced"

if [ $running = yes ]; then systemctl daemon-reload; fi
stay=
for directory in "$DESTDIR/etc/presenced" "$DESTDIR/var/lib/presenced"; do
	if [ -d "$directory" ]; then stay="$stay $directory"; fi
done
if [ -z "$DESTDIR" ] && id presenced >/dev/null 2>&1; then stay="$stay and the user presenced"; fi
echo "Uninstalled.${stay:+ This stays:$stay.}"
