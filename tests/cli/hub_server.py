"""A hub of our own on 127.0.0.1: the few endpoints that downloading a model needs, over files held in memory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Repositories = Mapping[str, Mapping[str, bytes]]


class FakeHub:
    """`downloads` are the files that were asked for, in order; `denied` maps repositories to the hub's error code.

    After half of a file it waits until `may_go_on` is set, as it is at first.
    """

    def __init__(self, repositories: Repositories, denied: Mapping[str, tuple[int, str]] | None = None) -> None:
        self.repositories, self.denied = repositories, denied or {}
        self.downloads: list[str] = []
        self.endpoint = ""
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    @contextmanager
    def running(self) -> Iterator[FakeHub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                parts = self.path.partition("?")[0].strip("/").split("/")
                api = parts[:2] == ["api", "models"]
                repository = "/".join(parts[2:4] if api else parts[:2])
                if repository in hub.denied:
                    status, code = hub.denied[repository]
                    self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}, with_body)
                elif repository not in hub.repositories:
                    self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
                elif api:
                    body = json.dumps(hub._description(repository)).encode()
                    self._send(200, body, {"Content-Type": "application/json"}, with_body)
                else:
                    self._file(repository, "/".join(parts[4:]), with_body)

            def _file(self, repository: str, name: str, with_body: bool) -> None:
                body = hub.repositories[repository].get(name)
                if body is None:
                    self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, with_body)
                    return
                if with_body:
                    hub.downloads.append(name)
                etag = hashlib.sha256(body).hexdigest()
                self._send(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, with_body, hub.may_go_on.wait)

            def _send(
                self,
                status: int,
                body: bytes,
                headers: Mapping[str, str],
                with_body: bool,
                half_way: Callable[[], object] = bool,
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body[: len(body) // 2])
                    half_way()
                    self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def _description(self, repository: str) -> dict[str, Any]:
        files = self.repositories[repository]
        siblings = [{"rfilename": name, "size": len(body), "blobId": "b"} for name, body in files.items()]
        return {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings, "private": False}
