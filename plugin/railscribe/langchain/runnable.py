"""A guard as one step of a LangChain pipe.

    chain = prompt | GuardRunnable() | llm | GuardRunnable(direction="output")

Rules

1. What is allowed passes through unchanged. What is refused raises :class:`RefusedError`, so nothing after
   the step runs; ``with_fallbacks`` turns that into an answer. An output guard may replace the response.
2. In a plain pipe an output guard sees the response and not what the user asked. :meth:`GuardRunnable.wrap`
   gives it both.
3. Nothing is released before it was checked. A stream through an output guard comes in windows, each judged with
   what came before it (:mod:`railscribe.streaming`), and ends where one is refused; calls of tools come at its end.
   An input guard waits for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from railscribe.errors import UsageError
from railscribe.guard import Guard
from railscribe.langchain.checking import Checker
from railscribe.langchain.refusing import RefusedError
from railscribe.langchain.streams import guarded_answer, unwatched
from railscribe.langchain.turns import identity_of, replacement, run_of
from railscribe.parts import Turn
from railscribe.policy import Policy
from railscribe.rollout import OnUndecided
from railscribe.settings import Settings
from railscribe.sync import iterate_sync, run_sync
from railscribe.values import Direction, Identity


class GuardRunnable(Runnable[Any, Any]):
    """Checks what passes through it: prompts on their way in, or responses on their way out.

    *guard* is a guard of yours, or settings to stand one up with; without it, those of the environment hold.
    *policy*, itself or by reference, *on_undecided* and *rollout* (``enforce``, ``observe``, ``25%``) default to
    the guard's.

    Raises:
        RailscribeError: what the guard lacks (a policy, a database, an engine) and the command that mends it.
    """

    def __init__(
        self,
        guard: Guard | Settings | None = None,
        *,
        direction: Literal["input", "output"] | Direction = Direction.INPUT,
        policy: Policy | str | None = None,
        on_undecided: OnUndecided | None = None,
        rollout: str | None = None,
        exit_behavior: Literal["raise", "replace"] = "raise",
    ) -> None:
        self.direction = Direction(direction)
        if exit_behavior == "replace" and self.direction is Direction.INPUT:
            raise UsageError(
                "An input guard cannot replace what it refuses: the model would answer the replacement.",
                hint="Use GuardRunnable().wrap(llm, exit_behavior='replace'), or with_fallbacks.",
            )
        self._checker = Checker(guard, policy=policy, on_undecided=on_undecided, rollout=rollout)
        self._checker.refuse_misfit(self.direction)
        self.exit_behavior = exit_behavior

    @property
    def guard(self) -> Guard:
        """The guard that checks."""
        return self._checker.guard

    @property
    def policy(self) -> Policy:
        """The policy of this step as it was last known, where neither a request nor a tenant has its own."""
        return self._checker.policy

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        """Return *input* if it is allowed.

        Raises:
            RefusedError: it is not.
        """
        return self._call_with_config(self._pass, input, config, run_type="chain")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        """Return *input* if it is allowed, as :meth:`invoke` does."""
        return await self._acall_with_config(self._apass, input, config, run_type="chain")

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield what is allowed of a stream as it is judged (rule 3)."""
        if self.direction is not Direction.OUTPUT:
            async for item in super().atransform(input, config, **kwargs):
                yield item
            return
        async for item in self._atransform_stream_with_config(input, self._streamed, config):
            yield item

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield as :meth:`atransform` does."""
        if self.direction is not Direction.OUTPUT:
            yield from super().transform(input, config, **kwargs)
        else:
            yield from iterate_sync(self.atransform(_apart(input), config, **kwargs))

    def wrap(
        self, model: Runnable[Any, Any], *, exit_behavior: Literal["raise", "replace"] = "raise"
    ) -> GuardedModel:
        """Return *model* with this guard before and behind it; the one behind knows the user's turn."""
        return GuardedModel(self._checker, model, exit_behavior=exit_behavior)

    async def _apass(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
    ) -> Any:
        return await self._passed(value, identity_of(config, run_of(run_manager)))

    def _pass(self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig) -> Any:
        return run_sync(self._passed(value, identity_of(config, run_of(run_manager))))

    async def _passed(self, value: Any, identity: Identity) -> Any:
        try:
            if self.direction is Direction.OUTPUT:
                await self._checker.admit_response(value, identity)
            elif self.direction is Direction.INPUT:
                await self._checker.admit_prompt(value, identity)
            else:
                await self._checker.admit(self.direction, await self._checker.whole(value), identity)
        except RefusedError as error:
            if self.exit_behavior == "raise":
                raise
            return replacement(value, error.refusal)
        return value

    async def _streamed(
        self, items: AsyncIterator[Any], run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
    ) -> AsyncIterator[Any]:
        identity = identity_of(config, run_of(run_manager))
        answer = guarded_answer(self._checker, items, Turn(text=""), identity)
        async for item in _ending(answer, self.exit_behavior):
            yield item


class GuardedModel(Runnable[Any, Any]):
    """*model* with a guard before and behind it. A refused input never reaches it.

    A refusal raises :class:`RefusedError`, or with ``exit_behavior="replace"`` is the answer itself.
    """

    def __init__(
        self,
        checker: Checker,
        model: Runnable[Any, Any],
        *,
        exit_behavior: Literal["raise", "replace"] = "raise",
    ) -> None:
        self._checker = checker
        self.model = model
        self.exit_behavior = exit_behavior
        for direction in (Direction.INPUT, Direction.OUTPUT):
            checker.refuse_misfit(direction)

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What the model takes."""
        return self.model.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What the model gives."""
        return self.model.OutputType

    def bind_tools(self, tools: Sequence[Any], **how: Any) -> GuardedModel:
        """Return the model with *tools* bound to it, guarded alike; its calls are judged."""
        model: Any = self.model
        return self._around(model.bind_tools(tools, **how))

    def with_structured_output(self, schema: Any, **how: Any) -> GuardedModel:
        """Return the model that gives what *schema* says, guarded alike; its output is judged as JSON."""
        model: Any = self.model
        return self._around(model.with_structured_output(schema, **how))

    def _around(self, model: Runnable[Any, Any]) -> GuardedModel:
        return GuardedModel(self._checker, model, exit_behavior=self.exit_behavior)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return the model's answer to *input* if both are allowed."""
        return self._call_with_config(self._answer, input, config, run_type="chain", **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return the model's answer as :meth:`invoke` does."""
        return await self._acall_with_config(self._aanswer, input, config, run_type="chain", **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Yield the model's answer in windows that were judged, if *input* is allowed."""

        async def one() -> AsyncIterator[Any]:
            yield input

        async for item in self._atransform_stream_with_config(one(), self._streamed, config, **kwargs):
            yield item

    def stream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the model's answer as :meth:`astream` does."""
        yield from iterate_sync(self.astream(input, config, **kwargs))

    def _answer(
        self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        identity = identity_of(config, run_of(run_manager))
        child = patch_config(config, callbacks=unwatched(run_manager.get_child()))
        try:
            user = run_sync(self._checker.admit_prompt(value, identity))
            answer = self.model.invoke(value, child, **kwargs)
            run_sync(self._checker.admit_response(answer, identity, user=user))
        except RefusedError as error:
            return self._instead(error)
        return answer

    async def _aanswer(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        identity = identity_of(config, run_of(run_manager))
        child = patch_config(config, callbacks=unwatched(run_manager.get_child()))
        try:
            user = await self._checker.admit_prompt(value, identity)
            answer = await self.model.ainvoke(value, child, **kwargs)
            await self._checker.admit_response(answer, identity, user=user)
        except RefusedError as error:
            return self._instead(error)
        return answer

    async def _streamed(
        self,
        inputs: AsyncIterator[Any],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        identity = identity_of(config, run_of(run_manager))
        child = patch_config(config, callbacks=unwatched(run_manager.get_child()))

        async def answer() -> AsyncIterator[Any]:
            value = [each async for each in inputs][-1]
            user = await self._checker.admit_prompt(value, identity)
            async for item in guarded_answer(
                self._checker, self.model.astream(value, child, **kwargs), user, identity
            ):
                yield item

        async for item in _ending(answer(), self.exit_behavior):
            yield item

    def _instead(self, error: RefusedError) -> AIMessage:
        if self.exit_behavior == "raise":
            raise error
        return AIMessage(error.refusal)


async def _ending(items: AsyncIterator[Any], exit_behavior: str) -> AsyncIterator[Any]:
    """Yield *items*, and where one is refused, the refusal in the shape of those before it."""
    last: Any = None
    try:
        async for last in items:
            yield last
    except RefusedError as error:
        if exit_behavior == "raise":
            raise
        yield replacement(last, error.refusal)


async def _apart(items: Iterator[Any]) -> AsyncIterator[Any]:
    """Yield *items*, each waited for on a thread: what makes them may take its time."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield item
