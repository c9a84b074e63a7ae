"""A stand-in of ModelScope and of Hugging Face: their lists and their files. It cuts files off, and knows ranges or not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Hub:
    """files: contents by their paths; cut: bytes after which an answer ends, once each; asked: what was asked for, with its range."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.cut, self.ranges, self.token, self.model = files, [], True, "", "Qwen/Tiny"
        self.asked: list[tuple[str, str]] = []
        self.wrong: dict[str, str] = {}
        self.url = ""

    def sha256(self, path: str) -> str:
        return self.wrong.get(path) or hashlib.sha256(self.files[path]).hexdigest()

    @contextlib.contextmanager
    def serve(self) -> Iterator[Hub]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_port}"
            yield self
            server.shutdown()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append((unquote(request.path), request.headers.get("Range") or ""))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            request.send_error(401)
        elif parts.path == f"/api/v1/models/{self.model}/repo/files":
            listed = [{"Path": path, "Type": "blob", "Size": len(text), "Sha256": self.sha256(path)} for path, text in self.files.items()]
            self._json(request, {"Code": 200, "Data": {"Files": [{"Path": "sub", "Type": "tree"}, *listed]}})
        elif parts.path == f"/api/v1/models/{self.model}/repo" and query.get("FilePath") in self.files:
            self._file(request, query["FilePath"])
        elif parts.path.startswith(f"/api/models/{self.model}/tree/"):
            self._tree(request, query)
        elif (found := re.fullmatch(rf"/{self.model}/resolve/\w+/(.+)", unquote(parts.path))) and found.group(1) in self.files:
            self._file(request, found.group(1))
        else:
            request.send_error(404)

    def _tree(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        """A file a page; what is large has its sha256 there."""
        number, paths = int(query.get("cursor", "0")), list(self.files)
        path = paths[number]
        entry = {"type": "file", "path": path, "size": len(self.files[path])}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": self.sha256(path), "size": len(self.files[path])}
        following = f"{self.url}{urlsplit(request.path).path}?recursive=true&cursor={number + 1}"
        link = {"Link": f'<{following}>; rel="next"'} if number + 1 < len(paths) else {}
        self._json(request, [entry, {"type": "directory", "path": "sub"}], link)

    def _json(self, request: BaseHTTPRequestHandler, value: object, headers: dict[str, str] | None = None) -> None:
        self._send(request, 200, json.dumps(value).encode(), headers or {})

    def _file(self, request: BaseHTTPRequestHandler, path: str) -> None:
        text = self.files[path]
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if start and self.ranges:
            text = text[int(start.group(1)) :]
        self._send(request, 206 if start and self.ranges else 200, text, {}, self.cut.pop(0) if self.cut else None)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, text: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text[:cut])
        if cut is not None:
            request.wfile.flush()
            request.close_connection = True
