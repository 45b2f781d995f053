"""Fetching the lecture's names, from a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from makemore_cli.names import download
from tests.conftest import NAMES, Cli

CONTENT = "\n".join(NAMES).encode()


class Server:
    """Serves a folder, and counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, 0
        outer = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}/names.txt"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "names.txt").write_bytes(CONTENT)
    monkeypatch.setenv("MAKEMORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    served = Server(folder)
    thread = threading.Thread(target=served.server.serve_forever)
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


def test_it_is_fetched_once_and_then_used(server: Server, cli: Cli, tmp_path: Path) -> None:
    refused = cli("train", "--config", "tiny", "--data", "lecture", "--out", tmp_path / "run")
    assert refused.code == 2
    assert refused.err == "makemore: --data lecture has not been downloaded yet; run: makemore data get\n"

    for _ in range(2):
        result = cli("data", "get", "--url", server.url)
        assert (result.code, result.out) == (0, f"{tmp_path / 'cache' / 'names.txt'}\n")
    assert server.asked == 1
    assert (tmp_path / "cache" / "names.txt").read_bytes() == CONTENT

    trained = cli("train", "--config", "tiny", "--data", "lecture", "--out", tmp_path / "run", "--steps", 5, "-q")
    assert trained.code == 0, trained.err
    assert cli("eval", tmp_path / "run").code == 0


def test_another_file_is_refused_and_leaves_nothing(server: Server, cli: Cli, tmp_path: Path) -> None:
    (server.folder / "names.txt").write_bytes(CONTENT + b"x")
    result = cli("data", "get", "--url", server.url)
    assert result.code == 2
    assert "the download is not the lecture's file (its SHA-256 differs)" in result.err
    assert result.err.count("\n") == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_copy_is_replaced_only_by_a_whole_one(server: Server, cli: Cli, tmp_path: Path) -> None:
    copy = tmp_path / "cache" / "names.txt"
    copy.parent.mkdir()
    copy.write_bytes(b"damaged")
    (server.folder / "names.txt").rename(server.folder / "away.txt")
    missing = cli("data", "get", "--url", server.url)
    assert (missing.code, missing.err) == (2, f"makemore: {server.url}: can't be downloaded: 404 File not found\n")
    (server.folder / "away.txt").rename(server.folder / "names.txt")
    assert cli("data", "get", "--url", server.url).code == 0
    assert copy.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/names.txt", "can't be downloaded: no connection to 127.0.0.1:9; check the network"),
        ("gopher://127.0.0.1/names.txt", "is not an http or https URL"),
        ("nonsense-with-a-hash", "is not an http or https URL"),
    ],
)
def test_no_network(url: str, reason: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEMORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    result = cli("data", "get", "--url", url)
    assert result.code == 2
    assert result.err == f"makemore: {url}: {reason}\n"
