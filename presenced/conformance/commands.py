"""The command line of the runner: which vectors to hold against whom, and the report."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Final

from presenced.conformance import client_steps, server_play
from presenced.conformance.adapter_process import AdapterDied, AdapterProcess
from presenced.conformance.client_play import PATIENCE_S
from presenced.conformance.dialogue_files import ClientDialogue, ServerDialogue, client_files, server_files
from presenced.conformance.link_ends import TRANSPORTS, TransportName
from presenced.conformance.outcome import Outcome, report
from presenced.conformance.payload_play import play_payloads
from presenced.conformance.server_play import ServerAddress, ServerNodes

ADAPTERS: Final = {
    "python": [sys.executable, "-m", "presenced.conformance.adapters.python_adapter"],
    "javascript": ["node", str(files("presenced.conformance").joinpath("adapters", "javascript_adapter.mjs"))],
}
"""The adapters that come with the package, by the word for `--client`."""

SERVER_DIALOGUES_AT_ONCE: Final = 8

EPILOG: Final = """\
A client is driven by an adapter: a program that reads one JSON object a line from its input and writes others.

  it begins with   {"adapter": "NAME", "transports": ["tcp", "websocket"], "commands": ["connect", ...]}
  the runner says  {"call": 1, "client": 3, "do": "watch", "users": ["bob"]}
  it answers       {"call": 1, "value": null}   or   {"call": 1, "error": {"code": "busy", "temporary": true}}
  and tells        {"client": 3, "event": "change", "user": "bob", "status": "away", "text": "", ...}

Chapter 27 of protocol.md has all commands and events. A dialogue that needs a command which the adapter does not name
is skipped. presenced/conformance/adapters/ holds two adapters to begin from.

A server has to run in dev mode, hold nothing that is dear, and be nobody else's meanwhile:

  presenced serve --dev --listen 127.0.0.1:5250 --http 127.0.0.1:5251
  python -m presenced.conformance --server 127.0.0.1:5250 --websocket 127.0.0.1:5251

The exit status is 0 if nothing failed, 1 if something did, and 2 if nothing could be tried.
"""


async def hold_client(
    command: Sequence[str], transports: Sequence[TransportName] = (), only: str = "", patience_s: float = PATIENCE_S
) -> tuple[str, list[Outcome]]:
    """Play all dialogues with a client, at once, or those whose names have `only` in them; returns the adapter's name
    and the outcomes, in the order of the files. Without `transports` each is tried that the adapter knows. A step waits
    for up to `patience_s`. Raises `AdapterDied` if it does not start."""
    adapter = await AdapterProcess.start(list(command))
    try:
        chosen = transports or adapter.transports
        plays = [
            client_steps.play(dialogue, adapter, transport, patience_s)
            for file in client_files()
            for dialogue in file.dialogues
            for transport in chosen
            if only in dialogue.name and _is_for(dialogue, transport)
        ]
        return adapter.name, await asyncio.gather(*plays)
    finally:
        await adapter.stop()


async def hold_server(
    nodes: ServerNodes,
    transports: Sequence[TransportName] = TRANSPORTS,
    only: str = "",
    patience_s: float = PATIENCE_S,
) -> list[Outcome]:
    """Play all dialogues and payloads with a server in dev mode, or the dialogues whose names have `only` in them. Each
    link of a dialogue is on another node of the server than the last one. A step waits for up to `patience_s`. Raises
    `OSError` if nothing listens at one of the addresses."""
    for host, port in {(one.host, one.port_of(transport)) for one in nodes.addresses for transport in transports}:
        if port:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except ConnectionError as error:
                raise OSError(f"no server answers at {host}:{port} ({os.strerror(error.errno or 0)})") from None
            writer.close()
    places = asyncio.Semaphore(SERVER_DIALOGUES_AT_ONCE)

    async def play(dialogue: ServerDialogue, transport: TransportName) -> Outcome:
        async with places:
            return await server_play.play(dialogue, nodes, transport, patience_s)

    chosen = [transport for transport in transports if all(one.port_of(transport) for one in nodes.addresses)]
    plays = [
        play(dialogue, transport)
        for file in server_files()
        for dialogue in file.dialogues
        for transport in chosen
        if only in dialogue.name and _is_for(dialogue, transport)
    ]
    outcomes = list(await asyncio.gather(*plays))
    for transport in chosen if not only else ():
        outcomes += await play_payloads(nodes, transport, patience_s)
    return outcomes


def _is_for(dialogue: ClientDialogue | ServerDialogue, transport: TransportName) -> bool:
    return not dialogue.transports or transport in dialogue.transports


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, hold, print, and exit: see `--help`."""
    chosen = _parser().parse_args(arguments)
    transports = [chosen.transport] if chosen.transport else []
    if chosen.list:
        _show(_list())
        return
    try:
        if chosen.client is not None:
            command = ADAPTERS.get(chosen.client) or shlex.split(chosen.client)
            title, outcomes = asyncio.run(hold_client(command, transports, chosen.only, chosen.patience))
        else:
            address = _address(chosen.server, chosen.websocket)
            title = f"the server at {address.host}"
            outcomes = asyncio.run(
                hold_server(ServerNodes([address]), transports or TRANSPORTS, chosen.only, chosen.patience)
            )
    except (AdapterDied, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    _show([title, *report(outcomes, is_verbose=chosen.verbose)])
    sys.exit(any(outcome.result == "failed" for outcome in outcomes) if outcomes else 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m presenced.conformance",
        description="Hold a client or a server against the vectors of the presenced protocol.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whom = parser.add_mutually_exclusive_group(required=True)
    known = ", ".join(ADAPTERS)
    whom.add_argument("--client", metavar="ADAPTER", help=f"the command of an adapter, or one of: {known}")
    whom.add_argument("--server", metavar="HOST:PORT", help="a server in dev mode, over TCP")
    whom.add_argument("--list", action="store_true", help="print all dialogues and where they come from")
    parser.add_argument("--websocket", metavar="HOST:PORT", help="with --server: its HTTP address, to try /ws as well")
    parser.add_argument("--transport", choices=TRANSPORTS, help="only over this transport")
    parser.add_argument("--only", default="", metavar="WORDS", help="only dialogues whose names have WORDS in them")
    seconds = f"how long a step waits for what it expects (default {PATIENCE_S:g})"
    parser.add_argument("--patience", type=float, default=PATIENCE_S, metavar="SECONDS", help=seconds)
    parser.add_argument("-v", "--verbose", action="store_true", help="name what passed, too")
    return parser


def _address(server: str, websocket: str | None) -> ServerAddress:
    host, port = _host_and_port(server)
    return ServerAddress(host, port, _host_and_port(websocket)[1] if websocket else 0)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise OSError(f"{address} is no HOST:PORT")
    return host.strip("[]"), int(port)


def _show(lines: Iterable[str]) -> None:
    """Print the lines. A reader that has read enough, as `| head` does, changes no exit code."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _list() -> Iterator[str]:
    found = [(file, file.dialogues) for file in client_files()] + [(file, file.dialogues) for file in server_files()]
    for file, dialogues in found:
        yield f"{file.vectors}: {file.about}"
        for dialogue in dialogues:
            yield f"  {dialogue.name} (protocol.md, {dialogue.section}): {dialogue.about}"
