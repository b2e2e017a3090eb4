"""A main model, so that the example needs none: it says what it hears. Yours is an engine and a key in config.yml."""

from collections.abc import AsyncIterator
from typing import Any

from nemoguardrails import LLMRails
from nemoguardrails.llm.providers import register_provider
from nemoguardrails.types import LLMResponse, LLMResponseChunk


class Parrot:
    provider_name = "parrot"
    provider_url = None

    def __init__(self, model: str = "parrot", **_: Any) -> None:
        self.model_name = model

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        return LLMResponse(content=f"You said: {prompt[-1].content}")

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        yield LLMResponseChunk(delta_content=f"You said: {prompt[-1].content}")


def init(app: LLMRails) -> None:
    register_provider("parrot", Parrot)
