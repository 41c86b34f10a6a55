"""One Chromium for all tests of a file. Each person in a test has a context of their own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import Browser, chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("there is no chromium on this machine")
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser
