"""`python -m tests.torture.nodes --rounds 1000`: three real daemons behind a real Redis, of which something fails in
each round: a node is killed, stopped or paused, or the engine is killed, paused or emptied.

After each round the newest text that was acknowledged is what every node tells, and a device that was there all the
time was told offline to nobody. Prints what it counted; at the first broken promise it ends with status 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from presenced.wire.messages import Get, SetStatus, Watch
from tests.support.daemon import Daemon
from tests.support.engines import RedisServer
from tests.support.until import until
from tests.support.wire import DONE, ERROR, PRESENCE, RECORDS, Wire, opened

LEASE = {"PRESENCED_CLUSTER__LEASE": "7s"}
NAMES = ("one", "two", "three")


class NodesLoop:
    """The daemons, the engine, and a link on each node that speaks for a user of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.tally: Counter[str] = Counter()
        self._folder = folder
        self._engine = RedisServer(folder / "redis")
        self._nodes = {name: self._start(name) for name in NAMES}
        self._links = {name: opened(self._nodes[name].port, f"user-{name}") for name in NAMES}
        self._texts = dict.fromkeys(NAMES, "")
        """The newest that was acknowledged."""
        self._number = 10

    def _start(self, name: str) -> Daemon:
        folder = self._folder / name
        options = ("--cluster", f"unix://{self._engine.socket}", "--node", name, "--rate", "0", "--change-spacing", "0")
        return Daemon(self._folder / f"{name}.log", *options, "--data-dir", str(folder), environ=LEASE)

    def close(self) -> None:
        """End all."""
        for node in self._nodes.values():
            node.kill()
        self._engine.stop()

    # --- a round ----------------------------------------------------------------------------------------------

    def round(self) -> None:
        """Something fails, everybody speaks meanwhile, and all nodes agree afterwards."""
        safe = self.chance.choice(NAMES)
        others = [name for name in NAMES if name != safe]
        watcher = opened(self._nodes[safe].port, "watcher")
        watcher.send(Watch(5, [f"user-{name}" for name in NAMES]))
        watcher.until(RECORDS)
        fault = self.chance.choice((self._kill, self._stop, self._engine_killed, self._engine_paused, self._emptied))
        self.tally[fault.__name__.strip("_")] += 1
        fault(self.chance.choice(others))
        for name in NAMES:
            self._speak(name)
        for name in NAMES:
            self._agree(name)
        told = [frame[1] for frame in watcher.told if frame[0] == PRESENCE]
        assert [f"user-{safe}", "offline"] not in [record[:2] for record in told], f"{safe} was there all the time"
        watcher.close()
        self.tally["rounds"] += 1

    def _speak(self, name: str) -> None:
        """The user says something until it is acknowledged."""
        link = self._links[name]

        def is_done() -> bool:
            self._number += 1
            link.send(SetStatus(self._number, "dnd", f"{name} {self._number}"))
            while (answer := link.next())[0] not in (DONE, ERROR) or answer[1] != self._number:
                pass
            if answer[0] == DONE:
                self._texts[name] = f"{name} {self._number}"
            return answer[0] == DONE  # type: ignore[no-any-return]

        until(is_done, f"{name} is acknowledged what it says")

    def _agree(self, name: str) -> None:
        for node in self._nodes.values():
            with opened(node.port, "reader", "screen") as reader:

                def is_told(reader: Wire = reader) -> bool:
                    reader.send(Get(9, [f"user-{name}"]))
                    [record] = next(part for part in reader.until(RECORDS) if isinstance(part, list))
                    return record[2] == self._texts[name]  # type: ignore[no-any-return]

                until(is_told, f"all nodes tell what {name} was acknowledged")

    # --- what fails -------------------------------------------------------------------------------------------

    def _kill(self, name: str) -> None:
        self._nodes[name].kill()
        self._come_back(name)

    def _stop(self, name: str) -> None:
        self._links[name].close()
        self._nodes[name].stop()
        self._come_back(name)

    def _come_back(self, name: str) -> None:
        self._nodes[name] = self._start(name)
        self._links[name].close()
        self._links[name] = opened(self._nodes[name].port, f"user-{name}")

    def _engine_killed(self, name: str) -> None:
        self._engine.kill()
        self._engine.start()

    def _engine_paused(self, name: str) -> None:
        assert self._engine.process is not None
        self._engine.process.send_signal(signal.SIGSTOP)
        link = self._links[name]
        self._number += 1
        link.send(SetStatus(self._number, "away", f"unheard {self._number}"))
        time.sleep(self.chance.random())  # how long the engine stands still is what is tried here
        self._engine.process.send_signal(signal.SIGCONT)

    def _emptied(self, name: str) -> None:
        self._engine.send("FLUSHALL")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="presenced-nodes-"))
    print(f"seed {options.seed}, folder {folder}", flush=True)
    began_s = time.monotonic()
    loop = NodesLoop(folder, options.seed)
    try:
        for _ in range(options.rounds):
            loop.round()
            if loop.tally["rounds"] % 10 == 0:
                print(f"{time.monotonic() - began_s:.0f} s {dict(loop.tally)}", flush=True)
    except AssertionError as failure:
        alive = [name for name, node in loop._nodes.items() if node.is_running]
        print(f"FAILED: {failure}\n{dict(loop.tally)}\nrunning: {alive}", flush=True)
        return 1
    finally:
        loop.close()
    shutil.rmtree(folder)
    print(f"passed in {time.monotonic() - began_s:.0f} s: {dict(loop.tally)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
