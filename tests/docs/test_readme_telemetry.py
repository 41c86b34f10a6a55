"""The README on logging and tracing: its programs run as they stand, and its tables name what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from presenced import opentelemetry
from tests.support import REPOSITORY
from tests.support.daemon import Daemon

README = (REPOSITORY / "README.md").read_text()
LONG_S = 60.0


def chapter(name: str) -> str:
    return README.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def run(name: str, daemon: Daemon, directory: Path) -> subprocess.CompletedProcess[str]:
    """The chapter's program, with this daemon's port in place of the usual one."""
    (snippet,) = re.findall(r"^```python\n(.*?)^```", chapter(name), re.MULTILINE | re.DOTALL)
    program = directory / "program.py"
    assert "127.0.0.1:5250" in snippet
    program.write_text(snippet.replace("127.0.0.1:5250", f"127.0.0.1:{daemon.port}"))
    return subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=LONG_S, check=True)


def test_the_program_of_the_chapter_on_logging(daemon: Daemon, tmp_path: Path) -> None:
    lines = run("Logging", daemon, tmp_path).stderr.splitlines()
    peer = f"127.0.0.1:{daemon.port}"
    assert f"INFO presenced.client.link: alice/laptop at {peer}: connected" in lines
    (sent,) = [line for line in lines if "SetStatus" in line]
    assert sent.startswith(f"DEBUG presenced.client.frames: {peer} -> SetStatus(") and "text='in a mee'..." in sent


def test_the_program_of_the_chapter_on_tracing(daemon: Daemon, tmp_path: Path) -> None:
    printed = run("Tracing", daemon, tmp_path).stdout
    spans = {span["name"]: span for span in objects(printed)}
    assert spans.keys() == {"presenced.connect", "presenced/get_status", "answer the visitor"}
    below, above = spans["presenced/get_status"], spans["answer the visitor"]
    assert below["parent_id"] == above["context"]["span_id"]


def objects(printed: str) -> list[dict[str, object]]:
    """The JSON objects in what a program has printed, between other lines."""
    found, decoder = [], json.JSONDecoder()
    for start in re.finditer(r"^\{", printed, re.MULTILINE):
        found.append(decoder.raw_decode(printed, start.start())[0])
    return found


def test_the_loggers_are_those_of_the_code() -> None:
    code = "".join(path.read_text() for path in sorted((REPOSITORY / "presenced" / "client").rglob("*.py")))
    used = set(re.findall(r"getLogger\(\"(presenced\.client\.[a-z]+)\"\)", code))
    assert set(re.findall(r"^\| `(presenced\.client\.[a-z]+)`", chapter("Logging"), re.MULTILINE)) == used


def test_the_metrics_are_those_of_the_code() -> None:
    code = Path(opentelemetry.__file__).read_text()
    used = set(re.findall(r"\"((?:rpc|presenced)\.client\.[a-z_.]+)\"", code))
    assert set(re.findall(r"^\| `([a-z_.]+\.client\.[a-z_.]+)`", chapter("Tracing"), re.MULTILINE)) == used
