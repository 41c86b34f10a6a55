"""Prosody, with accounts and rosters written as the plain Lua files of its internal storage before it starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.peers.base import Contacts
from bench.peers.programs import is_root
from bench.peers.xmpp import HOST, PASSWORD, Xmpp, rosters

CONFIG = """\
pidfile = "{workdir}/prosody.pid"
data_path = "{workdir}/data"
certificates = "{workdir}"
plugin_paths = {{}}
run_as_root = {root}
network_backend = "epoll"
network_settings = {{ tcp_backlog = 4096, nagle = false }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{}}
legacy_ssl_ports = {{}}
modules_enabled = {{ "roster", "saslauth" }}
modules_disabled = {{ "s2s", "s2s_auth_certs", "offline", "tls" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
log = {{ warn = "*console" }}
VirtualHost "{host}"
"""


class Prosody(Xmpp):
    """Prosody with rosters and nothing else."""

    name = "prosody"
    program = "prosody"
    package = "prosody"
    about = (
        "Prosody: presence over rosters, SASL PLAIN without TLS, plain passwords in files; modules but rosters off, no "
        "limits, and TCP_NODELAY, without which half of what it tells waits 40 ms in the kernel"
    )
    gentle = False

    @classmethod
    def version(cls, program: str) -> str:
        """What stands beside its code: asked for its version, the program would start to serve."""
        found = re.search(r"^CFG_SOURCEDIR\s*=\s*'([^']+)'", Path(program).read_text(errors="replace"), re.MULTILINE)
        noted = Path(found[1], "prosody.version") if found else Path()
        return noted.read_text().strip() if noted.is_file() else "unknown"

    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """Its files, and itself in the foreground."""
        data = workdir / "data" / HOST
        for kind in ("accounts", "roster"):
            (data / kind).mkdir(parents=True)
        for user, roster in rosters(users, contacts).items():
            (data / "accounts" / f"{user}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')
            items = "".join(
                f'["{other}@{HOST}"] = {{ ["subscription"] = "{way}"; ["groups"] = {{}}; }};\n'
                for other, way in roster.items()
            )
            head = '[false] = { ["version"] = 1; ["pending"] = {}; };\n'
            (data / "roster" / f"{user}.dat").write_text(f"return {{\n{head}{items}}};\n")
        config = workdir / "prosody.cfg.lua"
        root = "true" if is_root() else "false"
        config.write_text(CONFIG.format(workdir=workdir, port=self.port, host=HOST, root=root))
        return [program, "--config", str(config), "-F"]
