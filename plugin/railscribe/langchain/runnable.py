"""A guard as one step of a LangChain pipe.

    chain = prompt | GuardRunnable() | llm | GuardRunnable(direction="output")

Rules

1. What is allowed passes through unchanged. What is refused raises :class:`RefusedError`, so nothing after
   the step runs; ``with_fallbacks`` turns that into an answer. An output guard may replace the response.
2. In a plain pipe an output guard sees the response and not what the user asked. :meth:`GuardRunnable.wrap`
   gives it both.
3. Nothing is released before it was checked, so streaming through an output guard arrives in one piece.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from railscribe.admission import refuse_misfit
from railscribe.errors import UsageError
from railscribe.guard import Caller, Guard
from railscribe.langchain.turns import RefusedError, identity_of, replacement, response_turn, user_turn
from railscribe.language import told
from railscribe.parts import Turn
from railscribe.policy import Policy
from railscribe.rollout import OnUndecided
from railscribe.settings import Settings, load_settings
from railscribe.standing import StandingGuard
from railscribe.sync import run_sync
from railscribe.values import Cause, Direction, Enforcement, Exchange, Identity


class GuardRunnable(Runnable[Any, Any]):
    """Checks what passes through it: prompts on their way in, or responses on their way out.

    *guard* is a guard of yours, or settings to stand one up with; without it, those of the environment hold.
    *policy*, itself or by reference, and *on_undecided* default to the guard's.

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
        exit_behavior: Literal["raise", "replace"] = "raise",
    ) -> None:
        self.direction = Direction(direction)
        if exit_behavior == "replace" and self.direction is Direction.INPUT:
            raise UsageError(
                "An input guard cannot replace what it refuses: the model would answer the replacement.",
                hint="Use GuardRunnable().wrap(llm, exit_behavior='replace'), or with_fallbacks.",
            )
        self.guard = guard if isinstance(guard, Guard) else StandingGuard.stand(guard or load_settings())
        self._named = policy
        refuse_misfit(self.policy, self.direction, self.guard.engine)
        self.on_undecided = on_undecided
        self.exit_behavior = exit_behavior

    @property
    def policy(self) -> Policy:
        """The policy of this step as it was last known, where neither a request nor a tenant has its own."""
        named = self._named or self.guard.policy
        return self.guard.policies.last(named) if isinstance(named, str) else named

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        """Return *input* if it is allowed.

        Raises:
            RefusedError: it is not.
        """
        return self._call_with_config(self._pass, input, config, run_type="chain")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        """Return *input* if it is allowed, as :meth:`invoke` does."""
        return await self._acall_with_config(self._apass, input, config, run_type="chain")

    def wrap(
        self, model: Runnable[Any, Any], *, exit_behavior: Literal["raise", "replace"] = "raise"
    ) -> Runnable[Any, Any]:
        """Return *model* with this guard before and behind it; the one behind knows the user's turn."""
        return GuardedModel(self, model, exit_behavior=exit_behavior)

    def facing(self, direction: Direction) -> GuardRunnable:
        """Return this guard for *direction*."""
        return GuardRunnable(
            self.guard, direction=direction, policy=self._named, on_undecided=self.on_undecided
        )

    async def admit(self, value: Any, identity: Identity, user: Turn | None = None) -> None:
        """Return when *value* is allowed; *user* is the turn that a response answers, where it is known.

        Raises:
            RefusedError: it is not.
        """
        # On a thread, because pictures are decoded.
        exchange, problem = await asyncio.to_thread(self._exchange, value, user)
        policy = await self.guard.policy_for(self._named, identity)
        record = await self.guard.check(
            exchange,
            direction=self.direction,
            policy=policy,
            identity=identity,
            on_undecided=self.on_undecided,
            caller=_caller(self.direction),
            problem=problem,
        )
        if record.enforcement is Enforcement.REFUSED:
            # On a thread: the user's language may have to be found.
            raise RefusedError(record, policy, await asyncio.to_thread(told, policy, record))

    def _exchange(self, value: Any, user: Turn | None) -> tuple[Exchange, Cause | None]:
        settings = self.guard.settings
        if self.direction is Direction.INPUT:
            turn = user_turn(value, settings)
            return Exchange(user=turn.text, images=turn.images), turn.problem
        user = user or Turn(text="")
        turn = response_turn(value, settings)
        problem = turn.problem or user.problem or (Cause.MODALITY if turn.images else None)
        return Exchange(user=user.text, response=turn.text, images=user.images + turn.images), problem

    async def _apass(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
    ) -> Any:
        return await self._passed(value, identity_of(config, _run(run_manager)))

    def _pass(self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig) -> Any:
        return run_sync(self._passed(value, identity_of(config, _run(run_manager))))

    async def _passed(self, value: Any, identity: Identity) -> Any:
        try:
            await self.admit(value, identity)
        except RefusedError as error:
            if self.exit_behavior == "raise":
                raise
            return replacement(value, error.refusal)
        return value


class GuardedModel(Runnable[Any, Any]):
    """*model* with *guard* before and behind it. A refused input never reaches it.

    A refusal raises :class:`RefusedError`, or with ``exit_behavior="replace"`` is the answer itself.
    """

    def __init__(
        self,
        guard: GuardRunnable,
        model: Runnable[Any, Any],
        *,
        exit_behavior: Literal["raise", "replace"] = "raise",
    ) -> None:
        self.model = model
        self.exit_behavior = exit_behavior
        self._before = guard.facing(Direction.INPUT)
        self._behind = guard.facing(Direction.OUTPUT)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return the model's answer to *input* if both are allowed."""
        return self._call_with_config(self._answer, input, config, run_type="chain", **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return the model's answer as :meth:`invoke` does."""
        return await self._acall_with_config(self._aanswer, input, config, run_type="chain", **kwargs)

    def _answer(
        self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        identity = identity_of(config, _run(run_manager))
        try:
            run_sync(self._before.admit(value, identity))
            answer = self.model.invoke(
                value, patch_config(config, callbacks=run_manager.get_child()), **kwargs
            )
            run_sync(self._admit(answer, value, identity))
        except RefusedError as error:
            return self._instead(error)
        return answer

    async def _aanswer(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        identity = identity_of(config, _run(run_manager))
        try:
            await self._before.admit(value, identity)
            answer = await self.model.ainvoke(
                value, patch_config(config, callbacks=run_manager.get_child()), **kwargs
            )
            await self._admit(answer, value, identity)
        except RefusedError as error:
            return self._instead(error)
        return answer

    async def _admit(self, answer: Any, value: Any, identity: Identity) -> None:
        user = await asyncio.to_thread(user_turn, value, self._before.guard.settings)
        await self._behind.admit(answer, identity, user)

    def _instead(self, error: RefusedError) -> AIMessage:
        if self.exit_behavior == "raise":
            raise error
        return AIMessage(error.refusal)


def _run(manager: AsyncCallbackManagerForChainRun | CallbackManagerForChainRun) -> UUID:
    """Return the id of the whole chain's run, the same for every guard in it."""
    return manager.parent_run_id or manager.run_id


def _caller(direction: Direction) -> Caller:
    from langchain_core import __version__

    return Caller(rail=f"langchain {direction.value}", host=f"langchain-core {__version__}")
