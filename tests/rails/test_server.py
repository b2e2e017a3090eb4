"""``nemoguardrails server`` with configurations of ours, as its own process, asked over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import Answer, Loopback, chat_completion
from tests.rails.configs import REFUSAL

from railscribe.audit import AuditStore
from railscribe.rails import rails_path

CONFIG = """
    import_paths: ["{rails}"]
    passthrough: true
    models:
      - type: main
        engine: openai
        model: parrot
        parameters: {{base_url: "{url}", api_key: none}}
    custom_data:
      railscribe:
        identity_headers: {{tenant: X-Tenant, session: X-Session, request: X-Request-Id}}
        quote_record: {quote}
    rails:
      input: {{flows: [railscribe check input]}}
      output:
        flows: [railscribe check output]
        streaming: {{enabled: true, stream_first: false, chunk_size: 20, context_size: 5}}
"""


def streamed(text: str) -> bytes:
    """Return *text* as a server streams it, word by word."""
    parts = []
    for word in text.split(" "):
        choice = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}
        chunk = {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "parrot",
            "choices": [choice],
        }
        parts.append(f"data: {json.dumps(chunk)}\n\n")
    return "".join([*parts, "data: [DONE]\n\n"]).encode()


def both_models(body: dict[str, Any]) -> Answer:
    """Be the main model, which repeats, and the safety model, which finds 'forbidden' unsafe."""
    if body["model"] == "parrot":
        said = body["messages"][-1]["content"]
        said = said if isinstance(said, str) else "a picture"
        # What the model leaks at the end of a long answer, the user never wrote.
        said = f"You said: {said}" + (" and a forbidden secret" if "leak" in said else "")
        return (
            Answer(streamed(said), headers={"Content-Type": "text/event-stream"})
            if body.get("stream")
            else Answer(chat_completion(said))
        )
    sides = ["User", "Response"][: 2 if body["messages"][-1]["role"] == "assistant" else 1]
    label = "unsafe" if "forbidden" in json.dumps(body["messages"]) else "safe"
    text = "\n".join(f"{side} Safety: {label}" for side in sides)
    return Answer(chat_completion(text + ("\nSafety Categories: Violence" if label == "unsafe" else "")))


@pytest.fixture
def server(loopback: Loopback, database: str, tmp_path: Path) -> Iterator[str]:
    """Run the server over two configurations; the address it listens at."""
    loopback.judge = both_models
    for name, quote in (("plain", "false"), ("quoting", "true")):
        folder = tmp_path / "configs" / name
        folder.mkdir(parents=True)
        text = textwrap.dedent(CONFIG).format(rails=rails_path(), url=loopback.base_url, quote=quote)
        (folder / "config.yml").write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "RAILSCRIBE_DATABASE_URL": database,
        "RAILSCRIBE_BASE_URL": loopback.base_url,
        "RAILSCRIBE_MODEL": loopback.model,
        "OPENAI_API_KEY": "none",
        "NEMO_GUARDRAILS_NO_USAGE_STATS": "1",
    }
    command = ["-m", "nemoguardrails", "server", "--config", str(tmp_path / "configs"), "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield _when_up(f"http://127.0.0.1:{port}", process, tmp_path / "server.log")
        finally:
            process.terminate()
            process.wait(20)


def _when_up(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(f"{address}/v1/rails/configs", timeout=2)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return address
    raise AssertionError(log.read_text())


def test_the_server_answers_refuses_and_records(server: str, database: str, picture: dict[str, Any]) -> None:
    """Texts, pictures, streams and checks of two configurations; identity by header; a record that can be quoted."""
    headers = {"X-Tenant": "acme", "X-Session": "s-1", "X-Request-Id": "r-1"}

    def ask(content: Any, config: str = "plain", *, behind: Any = (), rails: Any = None, **more: Any) -> Any:
        options = {"output_vars": ["railscribe_verdict"], **({"rails": rails} if rails else {})}
        body = {
            "model": "parrot",
            "messages": [{"role": "user", "content": content}, *behind],
            "guardrails": {"config_id": config, "options": options},
            **more,
        }
        return httpx.post(f"{server}/v1/chat/completions", json=body, headers=headers, timeout=60)

    answered = ask("hello").json()
    refused = ask("forbidden").json()
    quoted = ask("forbidden", "quoting").json()
    seen = ask([{"type": "text", "text": "what is it?"}, picture]).json()
    shown = ask("hello " * 30, stream=True).text
    cut = ask("leak " + "hello " * 60, stream=True).text
    behind_an_answer = ask("forbidden", behind=[{"role": "assistant", "content": "sure"}]).json()
    switched_off = [ask("hello", rails={rail: False}).json() for rail in ("input", "output")]
    checked = httpx.post(
        f"{server}/v1/checks",
        json={
            "model": "parrot",
            "messages": [{"role": "user", "content": "forbidden"}],
            "guardrails": {"config_id": "plain"},
        },
        headers=headers,
        timeout=60,
    ).json()

    def said(reply: dict[str, Any]) -> str:
        return str(reply["choices"][0]["message"]["content"])

    with AuditStore.open(database) as store:
        records = [store.record(row["id"]) for row in reversed(store.records(limit=100))]
    assert said(answered) == "You said: hello"
    assert said(refused) == REFUSAL
    verdict = refused["guardrails"]["output_data"]["railscribe_verdict"]
    assert verdict["record_id"] in {record["id"] for record in records}
    assert said(quoted).startswith(f"{REFUSAL} (")
    assert said(quoted)[len(REFUSAL) + 2 : -1] in {record["id"] for record in records}
    assert said(seen) == "You said: a picture"
    assert any(record["image"]["image_count"] == 1 for record in records)
    assert shown.count("hello") == 30
    assert said(behind_an_answer) == REFUSAL
    assert [said(each) for each in switched_off] == [REFUSAL] * 2
    assert [r["decision"]["cause"] for r in records if r["rail"].endswith("(switched off)")] == [
        "not_run"
    ] * 2
    assert "content_blocked" in cut
    assert "secret" not in cut
    assert checked["status"] == "blocked"
    assert {
        (r["identity"]["tenant"], r["identity"]["session"], r["identity"]["request"]) for r in records
    } == {("acme", "s-1", "r-1")}
    assert any(record["rail"].endswith("(chunk)") for record in records)
