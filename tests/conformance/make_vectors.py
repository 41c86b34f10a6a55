"""Writes the vectors that follow from protocol.md alone: `make vectors`. A test holds the files against this."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance.made_framing import framing
from tests.conformance.made_messages import messages
from tests.conformance.made_refusals import refusals
from tests.conformance.made_types import types
from tests.conformance.made_values import checksums, digests, texts, times, urls

VECTORS = Path(__file__).parents[2] / "presenced" / "conformance" / "vectors"


class VectorFile(NamedTuple):
    about: str
    sections: list[str]
    cases: Callable[[], Iterator[dict[str, Any]]]


FILES: dict[str, VectorFile] = {
    "types": VectorFile(
        "Every type of message and every value inside one: number, who sends it, by which message it is answered, and "
        "its fields in their order; a field without 'default' is required.",
        ["5", "6", "13", "14"],
        types,
    ),
    "messages": VectorFile(
        "Messages that every reader accepts: their payload in MessagePack, their JSON, and what they mean with all "
        "defaults filled in and without what nobody knows ('means', where it differs).",
        ["2", "3", "4", "5", "13"],
        messages,
    ),
    "refusals": VectorFile(
        "Payloads that a server refuses, and with what: 'error' is the id and the code of an Error, 'goodbye' the code "
        "of a Goodbye. 'json' is null where only MessagePack can say it.",
        ["3", "4", "5", "13"],
        refusals,
    ),
    "framing": VectorFile(
        "Streams of bytes as TCP may cut them, the payloads in them, and the code that is owed behind these, if any.",
        ["2"],
        framing,
    ),
    "digests": VectorFile("Records and their digests.", ["6.6"], digests),
    "checksums": VectorFile("Views and their checksums.", ["22.2"], checksums),
    "times": VectorFile("Bounds of times that are drawn at random.", ["10"], times),
    "texts": VectorFile("What may be the name of a user, and what a status line.", ["1.2"], texts),
    "urls": VectorFile("URLs and their parts, or that they are refused.", ["1.1"], urls),
}


def text_of(name: str) -> str:
    """What the file of this name holds: a head, then one case a line."""
    file = FILES[name]
    head = {"format": 1, "vectors": name, "protocol": 1, "about": file.about, "sections": file.sections}
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in file.cases())
    return json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n"


if __name__ == "__main__":
    for name in FILES:
        (VECTORS / f"{name}.json").write_text(text_of(name), encoding="ascii")
