"""The files that a browser loads: their types, their tags, and which pages may load them."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from presenced.http.files import CLIENT_FILES
from tests.support import REPOSITORY
from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a daemon listens that lets in the pages of one origin."""
    config = tmp_path_factory.mktemp("files") / "presenced.toml"
    config.write_text('[http]\norigins = "https://app.example.org"\n')
    daemon = Daemon(config.with_name("log"), "--http", "127.0.0.1:0", "--config", str(config))
    try:
        yield int(daemon.until_log("at presence://").split("http://127.0.0.1:")[1].split(";")[0])
    finally:
        daemon.kill()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", CLIENT_FILES)
def test_each_file_is_what_is_in_the_package(port: int, path: str) -> None:
    response, body = ask(port, path)
    assert response.status == 200
    assert body == (REPOSITORY / "presenced" / CLIENT_FILES[path]).read_bytes()
    kind = "application/typescript" if path.endswith(".ts") else "text/javascript"
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_who_has_the_file_is_told_so(port: int) -> None:
    tag = ask(port, "/client/presence.js")[0].headers["ETag"]
    for named in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        response, body = ask(port, "/client/presence.js", If_None_Match=named)
        assert (response.status, body, response.headers["ETag"]) == (304, b"", tag)
        assert "Content-Length" not in response.headers
    assert ask(port, "/client/presence.js", If_None_Match='"other"')[0].status == 200
    assert ask(port, "/client/presence.d.ts")[0].headers["ETag"] != tag


def test_other_methods_and_paths(port: int) -> None:
    response, body = ask(port, "/client/presence.js", "HEAD")
    assert (response.status, body) == (200, b"") and int(response.headers["Content-Length"]) > 10_000
    response, _ = ask(port, "/client/presence.js", "POST")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    for path in ("/client/", "/client/package.json", "/client/../limits.py", "/client/%2e%2e/limits.py"):
        response, body = ask(port, path)
        assert response.status == 404 and b"/client/presence.js" in body


def test_pages_of_other_origins_load_it_if_they_may(port: int) -> None:
    response, _ = ask(port, "/client/presence.js", Origin="https://app.example.org")
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example.org")
    response, body = ask(port, "/client/presence.js", Origin="https://evil.example.org")
    assert response.status == 403 and b"import" not in body
    assert "Access-Control-Allow-Origin" not in response.headers
