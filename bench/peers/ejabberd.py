"""ejabberd, as an Erlang machine of our own: no node name, no distribution, its own spool and configuration.

Not through its control script, which lowers the limit of open files for another user. Accounts and rosters go in as one
XEP-0227 file over its HTTP API.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine.kernel import free_port
from bench.peers.base import PROGRAM_DIRECTORIES, Contacts, PeerFailed, PeerMissing
from bench.peers.xmpp import HOST, PASSWORD, Xmpp, rosters

LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt")
IMPORT_TIMEOUT_S = 300.0

CONFIG = """\
hosts: [{host}]
loglevel: warning
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, access: all, shaper: none, backlog: 4096,
     max_stanza_size: infinity, max_fsm_queue: 1000000{tls}}}
  - {{port: {api_port}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{/api: mod_http_api}}}}
auth_method: internal
auth_password_format: plain
acme: {{auto: false}}
{certificate}api_permissions:
  bench: {{from: mod_http_api, who: all, what: [import_piefxis]}}
modules:
  mod_roster: {{}}
"""

MACHINE = "+K true +P 250000 +Q 65536 +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false -noinput".split()
"""One scheduler for one core, which does not spin while it waits: that would count as work."""


class Ejabberd(Xmpp):
    """ejabberd with rosters and nothing else."""

    name = "ejabberd"
    program = "ejabberdctl"
    speaks_tls = True
    package = "ejabberd"
    about = (
        "ejabberd: presence over rosters, SASL PLAIN, plain passwords, Mnesia in memory; modules but "
        "rosters, shapers and limits off, one scheduler that does not spin"
    )
    gentle = False

    def __init__(self, payload_bytes: int = 57) -> None:
        super().__init__(payload_bytes)
        self._api_port = 0
        self._workdir = Path()

    @classmethod
    def find(cls) -> str:
        """The version in the name of its library."""
        cls.program_path()
        found = re.search(r"ejabberd-(\d[\d.]*)", cls._library().name)
        return found[1] if found else "unknown"

    @classmethod
    def _library(cls) -> Path:
        """Where its compiled code is."""
        for place in map(Path, LIBRARIES):
            for pattern in ("ejabberd-*/ebin", "*/ejabberd-*/ebin", "*/lib/ejabberd-*/ebin"):
                found = sorted(place.glob(pattern))
                if found:
                    return found[0].parent
        raise PeerMissing(f"no code of ejabberd to compare with; install it: apt-get install {cls.package}")

    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """`erl` with ejabberd in it."""
        self._api_port = free_port()
        self._workdir = workdir
        tls = certificate = ""
        if self.tls is not None:
            both = workdir / "bench.pem"
            both.write_bytes(self.tls.certificate.read_bytes() + self.tls.key.read_bytes())
            tls, certificate = ", tls: true", f"certfiles: [{both}]\n"
        config = CONFIG.format(host=HOST, port=self.port, api_port=self._api_port, tls=tls, certificate=certificate)
        (workdir / "ejabberd.yml").write_text(config)
        (workdir / "spool").mkdir()
        return [_erl(), *MACHINE, "-mnesia", "dir", f'"{workdir / "spool"}"', "-s", "ejabberd"]

    def environment(self, workdir: Path) -> Mapping[str, str]:
        """What its control script would set."""
        return {
            "EJABBERD_CONFIG_PATH": str(workdir / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(workdir / "ejabberd.log"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_LIBS": str(self._library().parent),
            "ERL_MAX_PORTS": "65536",
            "HOME": str(workdir),
        }

    def prepare(self, users: Sequence[str], contacts: Contacts) -> None:
        """Let it import the accounts and rosters."""
        accounts = self._workdir / "users.xml"
        accounts.write_text(exported(users, contacts))
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._api_port}/api/import_piefxis",
            data=json.dumps({"file": str(accounts)}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                request, timeout=IMPORT_TIMEOUT_S
            ) as reply:
                said = reply.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
        except OSError as error:
            said = str(error)
        if said.strip() != "0":
            raise PeerFailed(f"ejabberd did not take the accounts: {said}; it said:\n{self.process.errors()}")


def exported(users: Sequence[str], contacts: Contacts) -> str:
    """All accounts with their rosters in the format of XEP-0227."""
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", f"<server-data xmlns='urn:xmpp:pie:0'><host jid='{HOST}'>"]
    for user, roster in rosters(users, contacts).items():
        items = "".join(f"<item jid='{other}@{HOST}' subscription='{way}'/>" for other, way in roster.items())
        lines.append(
            f"<user name='{user}' password='{PASSWORD}'><query xmlns='jabber:iq:roster'>{items}</query></user>"
        )
    return "\n".join([*lines, "</host></server-data>\n"])


def _erl() -> str:
    """The Erlang machine."""
    found = shutil.which("erl") or shutil.which("erl", path=":".join(("/usr/bin", *PROGRAM_DIRECTORIES)))
    if found is None:
        raise PeerMissing("ejabberd needs erl; install it: apt-get install erlang-base")
    return found
