"""A stand-in of the Hugging Face hub: as much of its HTTP interface as the client asks for, and faults."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Kept outside git there, named by their sha256, and served by another address than the list's.
LARGE = (".safetensors", ".onnx", ".onnx_data", ".bin")
COMMIT = "dca8b1a9dae0d4575df2bf423a5edb485a431236"


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method for a path.

    `status` answers with that and `body` instead; `cut` breaks the connection after so many bytes of the
    body; `damage` flips a bit of it.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    body: bytes = b'{"error": "refused"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    damage: bool = False


class Hub(ThreadingHTTPServer):
    """Repositories by name, each a folder; all at one commit."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.commit = COMMIT
        self.faults: list[Fault] = []
        self.requested: list[str] = []
        self.ranges: list[str] = []
        self.lists_hashes = True
        self.etags_are_hashes = True  # a cache before a hub may have ETags of its own

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, path: str, method: str) -> Fault | None:
        """The fault of this request, counted down."""
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[Hub]:
    """A hub that serves until the end of the block."""
    with Hub(repositories) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


def git_sha1(content: bytes) -> str:
    """The name git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        hub = self.server
        hub.requested.append(f"{method} {self.path}")
        fault = hub.fault(self.path, method)
        if fault is not None and fault.status is not None:
            self._send(fault.status, fault.body, dict(fault.headers))
            return
        path = self.path.partition("?")[0]
        asked = re.fullmatch(r"/api/models/(.+?)(/revision/.+)?", path)
        if asked and asked[1] in hub.repositories:
            self._send(200, json.dumps(self._info(asked[1])).encode(), {})
            return
        asked = re.fullmatch(r"/(cdn/)?(.+?)/resolve/([^/]+)/(.+)", path)
        if asked is None or asked[2] not in hub.repositories:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        file, headers = hub.repositories[asked[2]] / asked[4], {"X-Repo-Commit": hub.commit}
        if not file.is_file():
            self._send(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        large = file.name.endswith(LARGE)
        digest = hashlib.sha256(content).hexdigest() if large else git_sha1(content)
        digest = digest if hub.etags_are_hashes else digest[:32]
        if asked[1] is None and large:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            self._send(302, b"", headers | {"Location": f"{hub.url}/cdn{self.path}", "ETag": '"another"'})
            return
        self._file(content, headers | {"ETag": f'"{digest}"'}, fault)

    def _file(self, content: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        if fault is not None and fault.damage:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start, status = 0, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start, status = int(wanted[1]), 206
            self.server.ranges.append(wanted[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(status, content[start:], headers, cut=None if fault is None else fault.cut)

    def _info(self, repo: str) -> dict[str, object]:
        folder, siblings = self.server.repositories[repo], []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            sibling: dict[str, object] = {"rfilename": path.relative_to(folder).as_posix()}
            if self.server.lists_hashes:
                sibling |= {"size": len(content), "blobId": git_sha1(content)}
            if self.server.lists_hashes and path.name.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": repo, "sha": self.server.commit, "siblings": siblings}

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True
