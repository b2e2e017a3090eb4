"""A callback handler that watches and refuses nothing: shadow mode for any chain, model or agent.

    observer = GuardObserver()
    chain.invoke(question, {"callbacks": [observer]})
    observer.wait()

Rules

1. Everything is recorded as ``observe``, whatever the guard enforces elsewhere: prompts, responses, calls, answers of
   tools, retrieved documents.
2. Nothing waits for it and nothing fails by it: checks run beside the chain, at most *pending* of them. What is over
   that, and what could not be recorded, is counted in ``lost`` and logged without content.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, wait
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from railscribe.errors import without_content
from railscribe.guard import Guard
from railscribe.langchain.checking import UNREAD, Checker
from railscribe.langchain.turns import identity_of, response_of, user_turn
from railscribe.parts import Turn, read_turn
from railscribe.policy import Policy
from railscribe.rollout import Rollout
from railscribe.settings import Settings
from railscribe.sync import begin
from railscribe.values import Direction, Identity

logger = logging.getLogger(__name__)

_OBSERVE = Rollout(share=0.0)


class GuardObserver(BaseCallbackHandler):
    """Records what a guard would decide about everything that passes; see the module's rules."""

    run_inline = True

    def __init__(
        self, guard: Guard | Settings | None = None, *, policy: Policy | str | None = None, pending: int = 256
    ) -> None:
        self._checker = Checker(guard, policy=policy)
        self._pending = pending
        self._running: set[Future[None]] = set()
        self._asked: dict[UUID, tuple[Any, Identity]] = {}
        self._lock = threading.Lock()
        self.lost = 0
        """Checks that there was no room for, or that could not be recorded."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the checks that were begun; return whether all have ended."""
        with self._lock:
            running = set(self._running)
        return not wait(running, timeout=timeout_s).not_done

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Judge the user's turn."""
        self._begin(messages[0], run_id, parent_run_id, metadata)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Judge the prompt of a model that completes text."""
        self._begin(prompts[0], run_id, parent_run_id, metadata)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Judge the response and the calls in it."""
        asked, identity = self._asked.pop(run_id, ("", Identity()))

        async def judged(answer: Any) -> None:
            user = await self._checker.read(user_turn, asked, UNREAD)
            said, calls = await self._checker.read(response_of, answer, (UNREAD, ""))
            if not said.is_empty or not calls:
                await self._record(Direction.OUTPUT, said, identity, user)
            if calls:
                await self._record(Direction.TOOL_OUTPUT, Turn(text=calls), identity, user)

        for generation in (each for choices in response.generations for each in choices):
            self._start(
                judged(generation.message if isinstance(generation, ChatGeneration) else generation.text)
            )

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Forget what was asked and nothing answers, and who did."""
        self._asked.pop(run_id, None)

    on_tool_error = on_retriever_error = on_llm_error

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Remember who asks: a tool's end does not say."""
        self._remember((), run_id, parent_run_id, metadata)

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """Judge what a tool answers."""
        content = output.content if isinstance(output, BaseMessage) else str(output)
        self._start(self._judged(Direction.TOOL_INPUT, content, self._identity(run_id)))

    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Remember who asks: a retriever's end does not say."""
        self._remember((), run_id, parent_run_id, metadata)

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **_: Any) -> None:
        """Judge each retrieved document."""
        identity = self._identity(run_id)
        for document in documents:
            self._start(self._judged(Direction.RETRIEVAL, document.page_content, identity))

    def _identity(self, run_id: UUID) -> Identity:
        _, identity = self._asked.pop(run_id, ((), Identity()))
        return identity

    def _remember(
        self, asked: Any, run_id: UUID, parent_run_id: UUID | None, metadata: dict[str, Any] | None
    ) -> Identity:
        identity = identity_of({"metadata": metadata or {}}, parent_run_id or run_id)
        self._asked[run_id] = (asked, identity)
        return identity

    def _begin(
        self, asked: Any, run_id: UUID, parent_run_id: UUID | None, metadata: dict[str, Any] | None
    ) -> None:
        identity = self._remember(asked, run_id, parent_run_id, metadata)

        async def judged() -> None:
            turn = await self._checker.read(user_turn, asked, UNREAD)
            await self._record(Direction.INPUT, turn, identity)

        self._start(judged())

    async def _judged(self, direction: Direction, content: object, identity: Identity) -> None:
        turn = await self._checker.read(read_turn, content, UNREAD)
        await self._record(direction, turn, identity)

    async def _record(
        self, direction: Direction, turn: Turn, identity: Identity, user: Turn | None = None
    ) -> None:
        await self._checker.check(direction, turn, identity, user=user, enforced=_OBSERVE)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        with self._lock:
            if len(self._running) >= self._pending:
                work.close()
                self.lost += 1
                logger.warning("a check was not begun: %d are under way", self._pending)
                return
            done, _ = begin(work)
            self._running.add(done)
        done.add_done_callback(self._ended)

    def _ended(self, done: Future[None]) -> None:
        with self._lock:
            self._running.discard(done)
        error = done.exception()
        if error is not None:
            self.lost += 1
            logger.error("a check could not be recorded: %s", without_content(error))
