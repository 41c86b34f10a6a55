"""What `import presenced` offers."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import presenced
from tests.support import REPOSITORY


def test_every_public_name_is_there() -> None:
    for name in presenced.__all__:
        value = getattr(presenced, name)
        assert value is not None
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__name__ == name
    assert presenced.__version__


def test_help_and_tab_show_the_calls_in_a_program_that_has_used_none() -> None:
    code = """
import pydoc, presenced
print(*dir(presenced))
print(pydoc.render_doc(presenced, renderer=pydoc.plaintext))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    names, _, shown = done.stdout.partition("\n")
    assert {*presenced.__all__, "sync", "__version__"} <= {*names.split()}
    assert not {"TYPE_CHECKING", "annotations"} & {*names.split()}
    for call in (
        "presenced.connect(",
        "presenced.connect_service(",
        "presenced.sync.connect(",
        "me.watch(",
        "p.attach(",
    ):
        assert call in shown.partition("PACKAGE CONTENTS")[0]
    assert "async set_status(self, status: 'StatusRequest'" in shown and "connect_service(url" in shown


def test_others_are_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        getattr(presenced, "conect")  # noqa: B009


def test_importing_it_loads_neither_asyncio_nor_the_codec() -> None:
    """They cost 60 ms, which `presencectl --help` would pay each time."""
    code = "import sys, presenced; print(sorted({'asyncio', 'msgspec', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == "[]\n"


def test_all_errors_have_one_root() -> None:
    for name in presenced.__all__:
        value = getattr(presenced, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, presenced.PresenceError)
