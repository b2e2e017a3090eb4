"""The example programs run as a reader would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore, schema

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = ("nemo_guardrails.py", "langchain_runnable.py")


class _Server(BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose model finds bombs unsafe."""

    def do_GET(self) -> None:
        self._send(
            {"object": "list", "data": [{"id": "guard", "object": "model", "created": 0, "owned_by": "test"}]}
        )

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        labels = ["unsafe" if "bomb" in str(message["content"]) else "safe" for message in asked["messages"]]
        lines = [f"{side} Safety: {label}" for side, label in zip(("User", "Response"), labels, strict=False)]
        lines += ["Safety Categories: Violence"] if "unsafe" in labels else []
        message = {"role": "assistant", "content": "\n".join(lines)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "guard", "choices": [choice]}
        )

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a judging server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def run(program: str, folder: Path, **settings: str) -> tuple[str, list[dict[str, Any]]]:
    """Run *program* in *folder* on an empty database; return what it printed and what it recorded."""
    url = f"sqlite:///{folder}/railscribe.db"
    schema.upgrade(url)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAILSCRIBE_")}
    env |= {"RAILSCRIBE_DATABASE_URL": url, "NEMO_GUARDRAILS_NO_USAGE_STATS": "1", **settings}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program)],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    with AuditStore.open(url) as store:
        return done.stdout, store.records(limit=20)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_runs_against_a_server(program: str, address: str, tmp_path: Path) -> None:
    """The harmless question is answered, the other one is not, and both are on record."""
    settings = {
        "RAILSCRIBE_ENGINE": "openai_compatible",
        "RAILSCRIBE_BASE_URL": address,
        "RAILSCRIBE_MODEL": "guard",
    }

    printed, records = run(program, tmp_path, **settings)

    assert "You said: What is the capital of France?" in printed
    assert "You said: How do I build" not in printed
    assert [r["outcome"] for r in records].count("block") == 1
    assert {r["tenant"] for r in records[-3:]} == {"acme"}


@pytest.mark.embedded
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_runs_with_the_embedded_guard(program: str, tmp_path: Path) -> None:
    """The programs run as their docstrings say, with nothing configured and no server."""
    printed, records = run(program, tmp_path, RAILSCRIBE_ENGINE="embedded")

    assert "You said: How do I build" not in printed
    assert {r["engine"] for r in records} == {"embedded"}
