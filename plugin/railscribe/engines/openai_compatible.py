"""The safety model behind an OpenAI-compatible server: vLLM, SGLang, TensorRT-LLM, NIM or a hosted one.

Rules

1. Policy and flags travel in ``chat_template_kwargs``, at the top level of the body. A server
   ignores a policy in any other place without a word.
2. One client per event loop: a connection pool belongs to the loop it was opened in.
3. A check is idempotent, so the SDK repeats it after a broken connection, 408, 409, 429 and 5xx, heeding
   ``Retry-After``; any other refusal is final. The time-out of the engine covers all of it.
4. A reply in another model's name is no reply (an alias of the same model is one).
5. A server's own reasoning parser takes the trace out of the content; it is put back where it was.
6. Nothing of a server's answer is repeated in a message but its status: error bodies quote the request.
7. Where a server refuses what it cannot take (scores, a conversation that ends on the response), it is asked again
   without, and that is remembered once the second answer has shown that this was why: a refusal may quote content.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletion
from typing_extensions import Self

from railscribe.engines.base import Engine
from railscribe.engines.sampling import label_positions, token_budget, unsafe_share
from railscribe.errors import (
    ContextLengthError,
    EngineError,
    EngineProtocolError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModalityError,
    SettingsError,
)
from railscribe.nemotron import chat_messages, template_kwargs
from railscribe.settings import Settings
from railscribe.values import Completion, EngineInfo, ImageReading, ImageUse, Request, Side

_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|max(?:imum)?[ _](?:model|seq)[ _]len|exceeds? max_num_tokens",
    re.IGNORECASE,
)
_NO_EYES = re.compile(
    r"not a multimodal model|at most 0 image|image input is not supported|not support (?:images?|multimodal|vision)",
    re.IGNORECASE,
)
_TURNS = re.compile(r"roles must alternate|last message", re.IGNORECASE)
_CONNECT_S = 5.0
_BACKENDS = ("vllm", "sglang", "llamacpp", "tensorrt_llm")
"""Servers that sign their list of models; others put an owner's name there."""
_HINTS = {
    401: "Set RAILSCRIBE_API_KEY to a key that the server takes.",
    403: "Set RAILSCRIBE_API_KEY to a key that may use this model.",
    404: "--base-url usually ends in /v1, and --model must be a name that the server gives.",
}


class OpenAICompatibleEngine(Engine):
    """Asks a server that speaks OpenAI's chat completions."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        timeout_s: float,
        max_retries: int,
        adapters: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(timeout_s=timeout_s)
        self._base_url = base_url.rstrip("/")
        self._address = re.sub(r"//[^/@]*@", "//", self._base_url)  # for messages: without a password
        self._model = model
        self._adapters = dict(adapters or {})
        self._api_key = api_key
        self._max_retries = max_retries
        self._clients: dict[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = {}
        self._names = frozenset({_folded(model)})
        self._backend: str | None = None
        self._backend_version: str | None = None
        self._logprobs = True
        self._folds = False
        """The response goes into the user's turn, for a server that takes no conversation ending on one."""

    @property
    def address(self) -> str:
        return self._address

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the engine that *settings* describe; nothing is contacted yet.

        Raises:
            SettingsError: the address or the model's name is missing.
        """
        if not (settings.base_url or "").startswith(("http://", "https://")):
            raise SettingsError(
                "The openai_compatible engine needs the server's address.",
                hint="Set --base-url or RAILSCRIBE_BASE_URL, such as http://127.0.0.1:8000/v1.",
            )
        if not settings.model:
            raise SettingsError(
                "The openai_compatible engine needs the name the server gives the model.",
                hint="Set --model or RAILSCRIBE_MODEL, such as nvidia/Nemotron-3.5-Content-Safety.",
            )
        return cls(
            base_url=cast("str", settings.base_url),
            model=settings.model,
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            timeout_s=settings.timeout_s,
            max_retries=settings.max_retries,
            adapters=settings.adapters,
        )

    @property
    def info(self) -> EngineInfo:
        return self.info_for(None)

    def info_for(self, adapter: str | None) -> EngineInfo:
        return EngineInfo(
            name="openai_compatible",
            model=self._model,
            adapter=adapter,
            # Part of the fingerprint: the same weights may answer otherwise to a response that was folded.
            backend=f"{self._backend or 'server'}, response folded" if self._folds else self._backend,
            backend_version=self._backend_version,
        )

    async def aclose(self) -> None:
        clients, self._clients = self._clients, {}
        for loop, client in clients.items():
            if loop is asyncio.get_running_loop():
                await client.close()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.close(), loop))

    async def _start(self) -> None:
        try:
            await asyncio.wait_for(self._survey(), self.timeout_s)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise EngineTimeoutError("The server did not list its models in time.") from error

    async def _survey(self) -> None:
        """Learn what the server serves and check that the model is among it."""
        try:
            listing = await self._client().models.list()
            models = {model.id: model for model in listing.data}
        except (openai.NotFoundError, AttributeError, TypeError, ValueError):
            return  # a gateway that lists nothing; rule 4 still holds for each reply
        except openai.OpenAIError as error:
            raise _translated(error, self._address) from error
        if self._model not in models:
            raise EngineRefusedError(
                f"The server at {self._address} does not serve a model named {self._model!r}.",
                hint=f"It serves {', '.join(sorted(models)[:8]) or 'none'}; set --model or RAILSCRIBE_MODEL.",
            )
        root = getattr(models[self._model], "root", None)  # vLLM: the checkpoint behind the name
        self._names |= {_folded(root)} if isinstance(root, str) else set()
        owner = models[self._model].owned_by
        self._backend = owner if owner in _BACKENDS else None
        self._backend_version = await self._server_version()

    async def _server_version(self) -> str | None:
        """Return what vLLM and its like tell at ``/version``, beside ``/v1``."""
        try:
            told = (
                await self._client()
                .with_options(max_retries=0)
                .get(f"{self._base_url.removesuffix('/v1')}/version", cast_to=cast("Any", object))
            )
        except (openai.OpenAIError, ValueError):
            return None
        version = told.get("version") if isinstance(told, dict) else None
        return version if isinstance(version, str) else None

    async def _complete(self, request: Request) -> Completion:
        try:
            reply = await self._ask(request)
        except openai.OpenAIError as error:
            if request.image is not None and _NO_EYES.search(_said(error)):
                raise ModalityError("The served model does not take pictures.") from error
            raise _translated(error, self._address) from error
        except ValueError as error:  # declared as JSON and none
            raise EngineProtocolError("The server's answer is not JSON.") from error
        completion = _completion(reply, request)
        names = self._names | {_folded(self._served_as(request))}
        if completion.served_model is not None and _folded(completion.served_model) not in names:
            raise EngineProtocolError("The server answered in another model's name.")
        return completion

    async def _ask(self, request: Request) -> ChatCompletion:
        """Ask, and ask again without what the server says it cannot take (rule 7)."""
        logprobs, folds = self._logprobs, self._folds
        while True:
            try:
                reply = await self._create(request, logprobs=logprobs, folds=folds)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                said = _said(error)
                if logprobs and "logprob" in said.lower():
                    logprobs = False
                elif not folds and request.response is not None and _TURNS.search(said):
                    folds = True
                else:
                    raise
            else:
                self._logprobs, self._folds = self._logprobs and logprobs, self._folds or folds
                return reply

    async def _create(self, request: Request, *, logprobs: bool, folds: bool) -> ChatCompletion:
        asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 5} if logprobs else {}
        reply = await self._client().chat.completions.create(
            model=self._served_as(request),
            messages=cast("Any", await _messages(request, folds=folds)),
            temperature=0,
            max_tokens=token_budget(request),
            extra_body={"chat_template_kwargs": template_kwargs(request)},
            **asked,
        )
        return cast("ChatCompletion", reply)

    def _served_as(self, request: Request) -> str:
        """Return the name under which the server serves what *request* asks for: LoRA adapters have their own.

        Raises:
            EngineRefusedError: the settings name no such adapter.
        """
        if request.adapter is None:
            return self._model
        if request.adapter not in self._adapters:
            raise EngineRefusedError(
                f"There is no adapter called {request.adapter!r}.",
                hint=f"The settings name {', '.join(self._adapters) or 'none'}.",
            )
        return self._adapters[request.adapter]

    def _client(self) -> openai.AsyncOpenAI:
        """Return the running loop's client (rule 2)."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients = {
                known: client for known, client in self._clients.items() if not known.is_closed()
            }
            self._clients[loop] = openai.AsyncOpenAI(
                base_url=self._base_url,
                # Never None: the SDK would take OPENAI_API_KEY and its like, and show them to this server.
                api_key=self._api_key or "none",
                organization="",
                project="",
                timeout=openai.Timeout(self.timeout_s, connect=min(_CONNECT_S, self.timeout_s)),
                max_retries=self._max_retries,
                # The SDK's own, left behind by a loop that has ended, closes itself in whichever runs then.
                http_client=openai.DefaultAsyncHttpxClient(),
            )
        return self._clients[loop]


async def _messages(request: Request, *, folds: bool) -> list[dict[str, Any]]:
    write = partial(chat_messages, request, images_as="url", fold_response=folds)
    # On a thread where there is a picture: some have to be decoded and encoded again.
    return write() if request.image is None else await asyncio.to_thread(write)


def _completion(reply: Any, request: Request) -> Completion:
    """Read *reply*, which the SDK does not validate: any field may be missing or of another shape."""
    try:
        choice = reply.choices[0]
        content, reasoning = choice.message.content, _reasoning(choice.message)
        finish_reason = choice.finish_reason
    except (AttributeError, LookupError, TypeError) as error:
        raise EngineProtocolError("The server's answer has no completion in it.") from error
    if not isinstance(content, str) and not (content is None and reasoning):
        raise EngineProtocolError("The server's completion has no text.")
    model, usage = getattr(reply, "model", None), getattr(reply, "usage", None)
    return Completion(
        text=_with_trace(content, reasoning),
        finish_reason=None if finish_reason is None else str(finish_reason),
        scores=_scores(choice),
        image=ImageReading(use=ImageUse.SEEN) if request.image else None,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        served_model=model if isinstance(model, str) and model else None,
    )


def _count(usage: Any, name: str) -> int | None:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else None


def _reasoning(message: Any) -> str | None:
    for name in ("reasoning_content", "reasoning"):  # vLLM renamed it
        reasoning = getattr(message, name, None)
        if isinstance(reasoning, str) and reasoning.strip():
            return reasoning
    return None


def _with_trace(content: str | None, reasoning: str | None) -> str:
    """Return the reply as the model wrote it (rule 5); a trace that never ended stays open."""
    if reasoning is None:
        return content or ""
    return f"<think>{reasoning}" if content is None else f"<think>{reasoning}</think>{content}"


def _scores(choice: Any) -> dict[Side, float]:
    """Return the score of each label whose probabilities came along; an odd shape is no score."""
    try:
        tokens = list(choice.logprobs.content)
        scores = {}
        for side, position in label_positions([token.token for token in tokens]).items():
            token = tokens[position]
            likely = {other.token: math.exp(other.logprob) for other in (token, *token.top_logprobs)}
            scores[side] = unsafe_share(likely)
    except (AttributeError, OverflowError, TypeError, ValueError):
        return {}
    return {side: score for side, score in scores.items() if score is not None}


def _said(error: openai.OpenAIError) -> str:
    """Return what the server wrote with its refusal; to look at, never to repeat (rule 6)."""
    return str(error.body) if isinstance(error, openai.APIStatusError) else ""


def _translated(error: openai.OpenAIError, address: str) -> EngineError:
    """Return *error* in our words (rule 6)."""
    if isinstance(error, openai.APITimeoutError):
        return EngineTimeoutError(f"The server at {address} gave no reply in time.")
    if isinstance(error, openai.APIConnectionError):
        return EngineUnavailableError(
            f"The server at {address} cannot be reached.", hint="Is it up? Does --base-url name it?"
        )
    if not isinstance(error, openai.APIStatusError):
        return EngineProtocolError("The server's answer is not a completion.")
    status = error.status_code
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(_said(error))):
        return ContextLengthError()
    if status in (408, 409, 429) or status >= 500:
        return EngineUnavailableError(
            f"The server at {address} answered HTTP {status}.", hint="Is it overloaded or still loading?"
        )
    return EngineRefusedError(
        f"The server at {address} refused the request: HTTP {status}.", hint=_HINTS.get(status)
    )


def _folded(name: str) -> str:
    # Servers repeat the name with or without the owner or path before it, in their own case.
    return name.rstrip("/").rpartition("/")[2].casefold()
