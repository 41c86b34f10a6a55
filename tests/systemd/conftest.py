"""Boots one container, and installs presenced in it: with the boot that takes half a minute."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.systemd.container import unable
from tests.systemd.service import UNIT, Service


@pytest.fixture(scope="package")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A booted container with presenced installed by `make install`; `Service.said` is what that printed. The last test
    uninstalls it (`test_uninstall`)."""
    why_not = unable()
    if why_not:
        pytest.skip(why_not)
    if shutil.which("make") is None:
        pytest.skip("needs make (on Debian: apt install make)")
    container = Service(tmp_path_factory.mktemp("container"))
    try:
        container.said = container.install()
        container.state_at_first = container.show(UNIT, "ActiveState")
        container.pin()
        yield container
    finally:
        container.close()


@pytest.fixture
def service(installed: Service) -> Service:
    """The installed service, running as at first."""
    installed.fresh()
    return installed
