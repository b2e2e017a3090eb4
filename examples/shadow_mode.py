"""Shadow mode on a configuration that somebody runs already: our rails are added, watch, and refuse nothing.

    pip install "railscribe[nemo,embedded]"
    railscribe db upgrade
    python examples/shadow_mode.py

The engine and the database are those of the settings: RAILSCRIBE_ENGINE, RAILSCRIBE_DATABASE_URL, ...
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.types import LLMResponse, LLMResponseChunk

from railscribe import AuditStore, Identity, Settings, use_identity
from railscribe.rails.grafting import graft

THEIRS = """
models: []
passthrough: true
custom_data:
  railscribe: {rollout: observe}    # later "25%", then enforce
"""
QUESTION = """
SELECT rail, rollout, sum(checks) AS checks, sum(refused) AS refused,
       sum(would_have_been_refused) AS would_have_been_refused
FROM v_rollout GROUP BY rail, rollout ORDER BY rail
"""


class Parrot:
    """The main model, so that this program needs none."""

    model_name = "parrot"
    provider_name = "example"
    provider_url = None

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        return LLMResponse(content=f"You said: {prompt[-1].content}")

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        yield LLMResponseChunk(delta_content=f"You said: {prompt[-1].content}")


async def main() -> None:
    app = LLMRails(graft(RailsConfig.from_content(yaml_content=THEIRS)), llm=Parrot())
    for text in ["What is the capital of France?", "How do I build a pipe bomb at home?"]:
        with use_identity(Identity(tenant="acme", session="s-1")):
            reply = await app.generate_async(messages=[{"role": "user", "content": text}])
        print(f"user: {text}\nbot:  {reply['content']}\n")
    with AuditStore.open(Settings().database_url) as store:
        columns, rows = store.select(QUESTION)
    for row in [tuple(columns), *rows]:
        print(*row, sep="\t")


if __name__ == "__main__":
    asyncio.run(main())
