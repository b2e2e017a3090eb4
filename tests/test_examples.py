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
PROGRAMS = (
    *("nemo_guardrails.py", "langchain_runnable.py", "vision_chatbot.py", "rag_chain.py", "tool_agent.py"),
    *("streaming_fastapi.py", "shadow_mode.py", "nemo_server.py"),
)


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


def run(
    program: str, folder: Path, settings: dict[str, str], *, limit: int = 20
) -> tuple[str, list[dict[str, Any]]]:
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
        return done.stdout, store.records(limit=limit)


@pytest.mark.parametrize("program", ["nemo_guardrails.py", "langchain_runnable.py"])
def test_an_example_runs_against_a_server(program: str, address: str, tmp_path: Path) -> None:
    """The harmless question is answered, the other one is not, and both are on record."""
    printed, records = run(program, tmp_path, _served(address))

    assert "You said: What is the capital of France?" in printed
    assert "You said: How do I build" not in printed
    assert [r["outcome"] for r in records].count("block") == 1
    assert {r["tenant"] for r in records[-3:]} == {"acme"}


def test_the_pictures_of_the_chatbot_reach_a_model_that_sees(address: str, tmp_path: Path) -> None:
    """With a server the picture itself is judged, and both are allowed: this one's model reads no pictures."""
    printed, records = run("vision_chatbot.py", tmp_path, _served(address))

    assert printed.count("I see a sign") == 2
    assert {r["image_use"] for r in records if r["direction"] == "input"} == {"seen"}


def test_a_bad_document_does_not_reach_the_answer(address: str, tmp_path: Path) -> None:
    """Of two documents one is withheld; a bad question ends the chain."""
    printed, records = run("rag_chain.py", tmp_path, _served(address))

    assert "open from nine to five" in printed
    assert "kills as many" not in printed
    assert sorted(r["outcome"] for r in records if r["direction"] == "retrieval") == ["allow", "block"]


def test_an_agent_does_not_read_out_a_bad_page(address: str, tmp_path: Path) -> None:
    """What the tool fetched is withheld, and the agent answers without it."""
    printed, records = run("tool_agent.py", tmp_path, _served(address))

    assert "The page says: Sunny in Paris" in printed
    assert "a tube and nails" not in printed
    assert ("tool_input", "block") in {(r["direction"], r["outcome"]) for r in records}


def test_a_stream_is_cut_where_it_turns_bad(address: str, tmp_path: Path) -> None:
    """The harmless stream arrives whole; the other one ends with the refusal, and both are tied together on record."""
    printed, records = run("streaming_fastapi.py", tmp_path, _served(address))

    assert "Bake it for fifty minutes." in printed
    assert "in the street" not in printed
    assert len({r["id"] for r in records}) >= 3


def test_shadow_mode_refuses_nothing(address: str, tmp_path: Path) -> None:
    """Both questions are answered, and the table says what would have been refused."""
    printed, records = run("shadow_mode.py", tmp_path, _served(address))

    assert printed.count("You said:") == 2
    assert {r["enforcement"] for r in records} == {"passed", "observed"}
    assert "railscribe check input\tobserve\t2\t0\t1" in printed


def test_the_server_is_asked_over_http(address: str, tmp_path: Path) -> None:
    """The refusal quotes its record, and the headers say who asked."""
    printed, records = run("nemo_server.py", tmp_path, _served(address))

    assert "You said: What is the capital of France?" in printed
    (refused,) = (r for r in records if r["outcome"] == "block")
    assert f"({refused['id']})" in printed
    assert {(r["tenant"], r["session"]) for r in records} == {("acme", "s-1")}


@pytest.mark.embedded
def test_the_examples_run_with_the_embedded_guard(tmp_path: Path) -> None:
    """The programs run as their docstrings say, with nothing configured and no server; one process loads the guard."""
    programs = [str(EXAMPLES / program) for program in PROGRAMS if program != "nemo_server.py"]
    (tmp_path / "all.py").write_text(
        f"import runpy\nfor program in {programs!r}:\n    runpy.run_path(program, run_name='__main__')\n"
    )

    printed, records = run(str(tmp_path / "all.py"), tmp_path, {"RAILSCRIBE_ENGINE": "embedded"}, limit=100)

    assert "You said: What is the capital of France?" in printed
    assert "kills as many" not in printed
    assert "in the street" not in printed
    assert {r["engine"] for r in records} == {"embedded"}
    assert {"input", "output", "retrieval", "tool_output"} <= {r["direction"] for r in records}


def test_every_example_is_short_and_is_run() -> None:
    """Each is under eighty lines, and none is forgotten here."""
    elsewhere = {"duckdb_questions.py"}  # tests/audit/test_questions.py, on an export
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PROGRAMS, *elsewhere}
    assert [path.name for path in EXAMPLES.glob("*.py") if len(path.read_text().splitlines()) >= 80] == []


def _served(address: str) -> dict[str, str]:
    return {
        "RAILSCRIBE_ENGINE": "openai_compatible",
        "RAILSCRIBE_BASE_URL": address,
        "RAILSCRIBE_MODEL": "guard",
    }
