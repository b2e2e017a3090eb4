"""Reasoning on the shell, against a server that answers with and without thinking."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

Run = Callable[..., Any]

TRACE = "The user asks for a weapon. That violates the policy."


class _Handler(BaseHTTPRequestHandler):
    """A chat-completions server: safe at once, and unsafe, with a trace, when it thinks."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_GET(self) -> None:
        self._reply({"object": "list", "data": [{"id": "guard", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        thinking = body["chat_template_kwargs"]["enable_thinking"]
        said = f"<think>{TRACE}</think>User Safety: unsafe" if thinking else "User Safety: safe"
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._reply(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "guard", "choices": [choice]}
        )

    def _reply(self, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@pytest.fixture
def check(railscribe: Run) -> Iterator[Run]:
    """Runs ``railscribe check`` on a text, against the server, with a database."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    railscribe("db", "upgrade")
    address = f"http://127.0.0.1:{server.server_port}/v1"

    def run(*arguments: str, **environment: str) -> Any:
        return railscribe(
            "check", "Where?", "--base-url", address, "--model", "guard", *arguments, **environment
        )

    yield run
    server.shutdown()
    server.server_close()


def test_a_deferred_trace_is_shown_with_its_record(check: Run, railscribe: Run) -> None:
    """``--reasoning deferred`` decides fast; the trace stands in ``audit show``, the reason in ``audit list``."""
    ran = check("--reasoning", "deferred", "--json")

    shown = ran.json()
    assert (ran.code, shown["decision"], shown["reasoning"], shown["trace"]) == (0, "allow", "deferred", None)
    late = railscribe("audit", "show", shown["record_id"], "--json").json()["late_trace"]
    assert (late["state"], late["disagrees"], late["trace"]["text"]) == ("received", True, TRACE)
    told = railscribe("audit", "show", shown["record_id"]).out
    assert "late_trace: \n    received at " in told
    assert f"    user unsafe, disagrees\n    {TRACE}\n" in told
    [listed] = railscribe("audit", "list", "--json").json()
    assert (listed["reviews"], listed["reasoning"]) == (["think_disagrees"], "deferred")
    assert "review: think_disagrees" in railscribe("audit", "list").out


@pytest.mark.parametrize("flag", [("--reasoning", "verdict"), ("--think",)])
def test_thinking_for_the_verdict(check: Run, flag: tuple[str, ...]) -> None:
    """``--think`` is short for ``--reasoning verdict``: the verdict is the one that was thought about."""
    ran = check(*flag)

    assert ran.code == 10
    assert f"trace:      {TRACE}" in ran.out


def test_flags_go_before_the_policy(check: Run, tmp_path: Path) -> None:
    """A policy's own plan counts, unless the command says otherwise; two flags that say it are one too many."""
    (tmp_path / "p.yaml").write_text(
        "name: p\nversion: '1'\ndescription: d\nreasoning: {mode: verdict}\n", encoding="utf-8"
    )

    assert check("--policy", "p.yaml").code == 10
    assert check("--policy", "p.yaml", "--reasoning", "off").code == 0
    both = check("--think", "--reasoning", "off")
    assert (both.code, both.err) == (
        2,
        "railscribe: --think is short for --reasoning verdict. Give one of them.\n",
    )
    assert check(RAILSCRIBE_REASONING="verdict").code == 10
