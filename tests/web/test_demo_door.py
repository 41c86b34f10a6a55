"""The door of the demo: where it is, what it tells a terminal, and that the page is all that it says it is."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

import pytest

from presenced.http.demo import FILES, POLICY, command_beside
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.in_process import InProcess
from tests.web.demo_tab import demonstrating

PAGE = (REPOSITORY / "presenced/web/demo/index.html").read_text()


def ask(port: int, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read().decode()
    finally:
        connection.close()


def test_it_stands_at_the_root_in_development_and_names_the_daemon() -> None:
    with demonstrating() as (server, port):
        response, page = ask(port, "/")
        assert (response.status, response.headers["Content-Security-Policy"]) == (200, POLICY)
        assert f'data-address="presence://127.0.0.1:{server.port}" data-command="presencectl"' in page
        assert "{" not in page
        for path in FILES:
            assert ask(port, path)[0].status == 200
        assert ask(port, "/demo/index.html")[0].status == 404
        assert ask(port, "/", "HEAD")[1] == ""
        refused, _ = ask(port, "/", "POST")
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert "/statusz" in ask(port, "/status-index")[1]


@pytest.mark.parametrize("settings", [{"dev": False}, {"http_websocket": False}])
def test_it_is_not_there_for_real_or_where_a_page_could_not_connect(
    settings: dict[str, object], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)
    secret.chmod(0o600)
    if settings == {"dev": False}:
        settings = {**settings, "secret_file": str(secret)}
    with InProcess(http="127.0.0.1:0", **settings) as server:
        port = server.ask(lambda _: server.operations.http.port)  # type: ignore[union-attr]
        assert server.operations.demo_url == ""
        _, page = ask(port, "/")
        assert "/statusz" in page and "/demo/" not in page
        assert ask(port, "/demo/demo.js")[0].status == 404


def test_the_start_says_where_the_page_is(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", "--http", "127.0.0.1:0") as daemon:
        said = daemon.until_log("a page to try it with is at http://127.0.0.1:")
        port = int(re.findall(r"try it with is at http://127\.0\.0\.1:(\d+)/\n", said)[0])
        assert ask(port, "/")[0].status == 200


def test_the_command_is_the_one_beside_the_daemon(tmp_path: Path) -> None:
    directory = tmp_path / "a place"
    directory.mkdir()
    (directory / "presencectl").touch()
    assert command_beside(f"{directory}/presenced") == f"'{directory}/presencectl'"
    assert command_beside(str(directory / "pytest")) == command_beside(f"{tmp_path}/presenced") == "presencectl"


def test_the_page_has_nothing_from_elsewhere_and_no_script_or_style_of_its_own() -> None:
    assert re.findall(r"(?:src|href|action)=\"(?!/)", PAGE) == []
    assert re.findall(r"(?:src|href|action)=\"//", PAGE) == []
    assert re.findall(r"<style| style=| on\w+=|<script(?! type=\"module\" src=)", PAGE) == []
    for path, name in FILES.items():
        text = (REPOSITORY / "presenced" / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|@import|url\(", text), path
