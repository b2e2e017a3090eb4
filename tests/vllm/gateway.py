"""A gateway as they are met in the field: it passes on the fields of a request that it knows, and drops the others."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from typing_extensions import Self

_UNKNOWN = ("chat_template_kwargs",)


class Gateway:
    """Stands before the server at *upstream*, on a port of its own on the loopback."""

    def __init__(self, upstream: str) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(upstream.removesuffix("/v1")))
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(upstream: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

        def do_GET(self) -> None:
            self.pass_on(None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = {name: value for name, value in body.items() if name not in _UNKNOWN}
            self.pass_on(json.dumps(known).encode())

        def pass_on(self, body: bytes | None) -> None:
            asked = urllib.request.Request(  # noqa: S310 - the server of the test
                upstream + self.path, body, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310
                    status, told = answer.status, answer.read()
            except urllib.error.HTTPError as refusal:
                with refusal:
                    status, told = refusal.code, refusal.read()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

    return Handler
