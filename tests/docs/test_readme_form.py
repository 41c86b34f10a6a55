"""The README and protocol.md as somebody reads them: links lead somewhere, and nothing is too long to be read."""

from __future__ import annotations

import re

import pytest

from presenced.cli.ctl import SECTIONS
from tests.support import REPOSITORY

ROW_CHARACTERS_MAX = 240
PARAGRAPH_LINES_MAX = 13


def prose(name: str) -> str:
    """The document without its blocks of code."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(name: str) -> list[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", ["README.md", "protocol.md", "tests/README.md"])
def test_links_lead_to_headings_and_files(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        assert not path or (REPOSITORY / name).parent.joinpath(path).exists(), f"{name} links to {link}"
        target = f"{path or name}"
        if anchor:
            assert anchors(target).count(anchor) == 1, f"{name} links to {link}"


def test_the_contents_have_all_chapters() -> None:
    listed = prose("README.md").partition("\n## Contents\n")[2].partition("\n## ")[0]
    chapters = re.findall(r"^## (.+)$", prose("README.md"), re.MULTILINE)
    assert re.findall(r"^\* \[([^]]+)\]", listed, re.MULTILINE) == [one for one in chapters if one != "Contents"]
    parts = prose("README.md").partition("\n## Running it for real\n")[2].partition("\n## ")[0]
    for part in re.findall(r"^### (.+)$", parts, re.MULTILINE):
        assert part in " ".join(listed.split()), f"{part} is not in the contents"


def test_the_commands_stand_under_the_titles_of_the_help() -> None:
    chapter = prose("README.md").partition("\n## The command line\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in chapter.splitlines()
        if line.startswith("| To ")
    ]
    told = {title: re.findall(r"`([a-z-]+)[` ]", re.sub(r"\(.*?\)", "", cells)) for title, cells in rows}
    assert {title: tuple(names) for title, names in told.items()} == SECTIONS


def test_no_row_and_no_paragraph_is_too_long() -> None:
    lines = prose("README.md").splitlines()
    assert not [line for line in lines if line.startswith("|") and len(line) > ROW_CHARACTERS_MAX]
    paragraphs = re.split(r"\n\s*\n|\n(?= *\* )", prose("README.md"))
    assert not [one for one in paragraphs if not one.startswith("|") and one.count("\n") >= PARAGRAPH_LINES_MAX]
