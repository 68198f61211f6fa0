"""A Hugging Face hub on loopback: as much of its HTTP interface as a download uses.

What it answers is modelled on what huggingface_hub 2.4 reads: the error codes in
`utils/_http.py::hf_raise_for_status`, the metadata headers in
`file_download.py::get_hf_file_metadata`. Large files lie on another origin, as on the real hub.
"""

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

LARGE = (".safetensors", ".bin", ".ckpt", ".pt")
EMPTY: Mapping[str, str] = {}


@dataclass
class Repository:
    """Files at one revision; `gated` ones want a token of an account that accepted the licence."""

    files: dict[str, bytes]
    revision: str
    gated: bool = False


class Request(NamedTuple):
    """What a client asked, and whether it showed a token."""

    method: str
    host: str
    path: str
    range: str | None
    authorised: bool


@dataclass
class Faults:
    """What goes wrong, by the path of a large file in its repository."""

    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """Bytes after which the connection ends, one for each answer until the list is empty."""
    reset: bool = False
    """The cut is a TCP reset instead of an orderly end."""
    damaged: set[str] = field(default_factory=set)
    """Files that are sent with one bit wrong."""
    status: int | None = None
    """The status of every answer."""


class HubDouble(ThreadingHTTPServer):
    """The server. Use it as a context manager; `endpoint` is its address."""

    def __init__(self, repositories: dict[str, Repository]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.tokens = {"hf_accepted": True, "hf_stranger": False}
        self.faults = Faults()
        self.requests: list[Request] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        # Another name is another origin: a client must not show its token there.
        self.storage = f"localhost:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()

    def downloads(self, path: str) -> list[Request]:
        """Return the requests for the content of a file."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(f"/{path}")]


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for the tests."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        authorised = "Authorization" in self.headers
        self.server.requests.append(
            Request(self.command, self.headers["Host"], path, self.headers.get("Range"), authorised)
        )
        if self.server.faults.status is not None:
            return self._answer(self.server.faults.status)
        if match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            return self._send_large(*match.groups())
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self._send_tree(*match.groups())
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._send_file(*match.groups())
        return self._answer(404)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, headers: Mapping[str, str] = EMPTY, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._answer(status, {"X-Error-Code": code, "X-Error-Message": message})

    def _repository(self, name: str, revision: str, content: bool) -> Repository | None:
        """Return a repository that the client may read, or None after refusing it."""
        shown = self.headers.get("Authorization")
        token = shown.removeprefix("Bearer ") if shown else None
        repository = self.server.repositories.get(name)
        if token is not None and token not in self.server.tokens:
            self._answer(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repository is None:
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif revision != repository.revision:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif repository.gated and content and not (token and self.server.tokens[token]):
            self._refuse(403 if token else 401, "GatedRepo", "Access to the model is restricted")
        else:
            return repository
        return None

    def _send_tree(self, name: str, revision: str) -> None:
        repository = self._repository(name, revision, content=False)
        if repository is None:
            return
        folders = {path.rpartition("/")[0] for path in repository.files if "/" in path}
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": folder, "oid": "0" * 40} for folder in sorted(folders)
        ]
        for path, content in repository.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_blob(content)}
            if path.endswith(LARGE):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
                entry["xetHash"] = sha256
            entries.append(entry)
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(entries).encode())

    def _send_file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name, revision, content=True)
        if repository is None:
            return
        content = repository.files[path]
        commit = {"X-Repo-Commit": revision}
        if not path.endswith(LARGE):
            self._answer(200, {**commit, "ETag": f'"{git_blob(content)}"'}, content)
            return
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
            "X-Xet-Hash": sha256,
            "X-Xet-Refresh-Route": f"{self.server.endpoint}/api/models/{name}/xet-read-token/main",
            "Location": f"http://{self.server.storage}/storage/{name}/{path}",
        }
        self._answer(302, {**commit, **headers})

    def _send_large(self, name: str, path: str) -> None:
        content = self.server.repositories[name].files[path]
        if path in self.server.faults.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match.group(1))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cuts = self.server.faults.cut_after.get(path)
        end = start + cuts.pop(0) if cuts else len(content)
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True
            if self.server.faults.reset:
                now = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
