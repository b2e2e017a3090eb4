"""The doors of ``nemoguardrails server``, asked by HTTP in this process; the rules are those of ``door_apps.py``."""

from __future__ import annotations

from typing import Any

import httpx
from door_apps import BAD, STREAMING, Bench, Door, MainModel, is_bad, user
from nemoguardrails import LLMRails
from nemoguardrails.server import api

from railscribe.values import Direction

_RAILS: dict[str, Any] = {"input": {}, "output": STREAMING}


async def _post(app: LLMRails, path: str, **body: Any) -> httpx.Response:
    # The server builds its apps from a folder, and keeps them under the configuration's and the model's name.
    api.llm_rails_instances["doors:main"] = app
    app.events_history_cache.clear()
    transport = httpx.ASGITransport(api.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server", timeout=60) as client:
        asked = {"model": "main", "guardrails": {"config_id": "doors"}, **body}
        return (await client.post(path, json=asked)).raise_for_status()


async def comes_in(bench: Bench, kind: str, word: str) -> bool:
    """Try the user's message: did it reach the main model?"""
    app, model = bench.app(kind, _RAILS), MainModel()
    app.update_llm(model)
    await _post(app, "/v1/chat/completions", messages=[user(word)])
    return is_bad(model.asked)


async def goes_out(bench: Bench, kind: str, word: str) -> bool:
    """Try the answer."""
    app = bench.app(kind, _RAILS)
    app.update_llm(MainModel(f"a {word} answer"))
    return is_bad((await _post(app, "/v1/chat/completions", messages=[user("hello")])).text)


async def streams(bench: Bench, kind: str, word: str) -> bool:
    """Try a streamed answer."""
    app = bench.app(kind, _RAILS)
    app.update_llm(MainModel(f"one two three four five six {word} eight nine"))
    return is_bad((await _post(app, "/v1/chat/completions", messages=[user("hello")], stream=True)).text)


async def is_checked(bench: Bench, kind: str, word: str) -> bool:
    """Try ``/v1/checks``; without rails nothing is asked."""
    if kind == "none":
        return word == BAD
    answer = await _post(bench.app(kind, _RAILS), "/v1/checks", messages=[user(word)])
    return word == BAD and answer.json()["status"] != "blocked"


SERVER = (
    Door(name="server: the user's message", try_it=comes_in, direction=Direction.INPUT),
    Door(name="server: the answer", try_it=goes_out, direction=Direction.OUTPUT),
    Door(name="server: a streamed answer", try_it=streams, direction=Direction.OUTPUT),
    Door(name="server: /v1/checks", try_it=is_checked, direction=Direction.INPUT),
)
"""The doors of NeMo's server."""
