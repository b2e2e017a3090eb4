"""One guard as LangChain's rooms use it: what they have in common. No host logic here but the records' names.

Rules

1. Nothing but a :class:`RefusedError` comes out of a check. What cannot be read, or whose policy is unknown, is on
   record as undecided, ``modality`` or ``not_run``; what cannot be recorded is refused without a record,
   ``not_recorded``, but where all is only observed. Whatever failed is logged without content.
2. What is said and what is called are judged apart, as a response and as calls. Where a policy leaves tools out, calls
   are judged as a response and tools' answers as a prompt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from langchain_core import __version__ as _core_version
from langchain_core.messages import BaseMessage

from railscribe.admission import refuse_misfit
from railscribe.errors import UsageError, cause_without_record, without_content
from railscribe.guard import Guard
from railscribe.langchain.refusing import RefusedError
from railscribe.langchain.turns import joined, messages_of, response_of, tools_answers, user_turn
from railscribe.language import told
from railscribe.parts import Turn, exchange_of, join_turns
from railscribe.policy import Policy
from railscribe.recording import Caller
from railscribe.rollout import OnUndecided, Rollout
from railscribe.settings import Settings, load_settings
from railscribe.standing import StandingGuard
from railscribe.streaming import GuardedStream
from railscribe.values import Cause, Direction, Enforcement, Identity, Record

logger = logging.getLogger(__name__)

R = TypeVar("R")
UNREAD = Turn(text="", problem=Cause.NOT_RUN)


class Checker:
    """A guard, with what its user has chosen for all its checks.

    Raises:
        PolicyError: the policy cannot decide by this guard's engine.
    """

    def __init__(
        self,
        guard: Guard | Settings | None,
        *,
        policy: Policy | str | None = None,
        on_undecided: OnUndecided | None = None,
        rollout: str | None = None,
        host: str = f"langchain-core {_core_version}",
    ) -> None:
        self.guard = guard if isinstance(guard, Guard) else StandingGuard.stand(guard or load_settings())
        self.named = policy
        self.on_undecided = on_undecided
        self.host = host
        self._enforced = None if rollout is None else Rollout.parse(rollout)

    def __reduce__(self) -> Any:
        """Refuse to be pickled, in words.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "A guard holds an engine and a database, and cannot be pickled or deeply copied.",
            hint="Build it anew from its settings where it is needed.",
        )

    @property
    def policy(self) -> Policy:
        """The policy as it was last known, where neither a request nor a tenant has its own."""
        named = self.named or self.guard.policy
        return self.guard.policies.last(named) if isinstance(named, str) else named

    def refuse_misfit(self, direction: Direction) -> None:
        """Refuse a policy that could only ever refuse in *direction*.

        Raises:
            PolicyError: it could.
        """
        refuse_misfit(self.policy, direction, self.guard.engine)

    async def read(self, read: Callable[..., R], value: object, otherwise: R) -> R:
        """Return what *read* finds in *value*, on a thread, for pictures are decoded; *otherwise* where it fails."""
        try:
            return await asyncio.to_thread(read, value, self.guard.settings)
        except Exception as error:  # noqa: BLE001 - rule 1
            logger.error("what is to be checked could not be read: %s", type(error).__name__)  # noqa: TRY400
            return otherwise

    async def check(
        self,
        direction: Direction,
        turn: Turn,
        identity: Identity,
        *,
        user: Turn | None = None,
        enforced: Rollout | None = None,
    ) -> Record:
        """Return the record of *turn*, which travels in *direction*; *user* is what a response answers."""
        sides = (turn, None) if direction.to_the_model else (user or Turn(text=""), turn)
        exchange, problem = exchange_of(*sides)
        try:
            policy = await self.guard.policy_for(self.named, identity)
        except Exception as error:  # noqa: BLE001 - rule 1, and it goes on record
            _log(error)
            policy, problem = self.policy, Cause.NOT_RUN
        return await self.guard.check(
            exchange,
            direction=direction,
            policy=policy,
            identity=identity,
            on_undecided=self.on_undecided,
            rollout=enforced or self._enforced,
            caller=self.caller(direction),
            problem=problem,
        )

    async def admit(
        self, direction: Direction, turn: Turn, identity: Identity, *, user: Turn | None = None
    ) -> None:
        """Return when *turn* may go on.

        Raises:
            RefusedError: it may not.
        """
        try:
            record = await self.check(direction, turn, identity, user=user)
        except Exception as error:  # noqa: BLE001 - rule 1
            self.refuse_unrecorded(direction, identity, error)
            return
        if record.enforcement is Enforcement.REFUSED:
            policy = self.judged_by(record)
            # On a thread: the user's language may have to be found.
            raise RefusedError.by(record, policy, await asyncio.to_thread(told, policy, record))

    async def admit_prompt(self, value: object, identity: Identity) -> Turn:
        """Return the user's turn in *value*, a prompt, when all that comes in with it may go on.

        Raises:
            RefusedError: it may not.
        """
        turn = await self.read(user_turn, value, UNREAD)
        await self.admit(Direction.INPUT, turn, identity)
        for answer in tools_answers(messages_of(value) or ()):
            await self.admit_tool_answer(answer, identity)
        return turn

    async def admit_turn(self, messages: Sequence[BaseMessage], identity: Identity) -> None:
        """Return when *messages*, all of them the user's, may go on.

        Raises:
            RefusedError: they may not.
        """
        await self.admit(Direction.INPUT, await self.read(joined, messages, UNREAD), identity)

    async def admit_tool_answer(self, answer: object, identity: Identity) -> None:
        """Return when *answer*, a tool's message, may go on: it may well say nothing.

        Raises:
            RefusedError: it may not.
        """
        turn = await self.whole(answer)
        if not turn.is_empty:
            await self.admit(self._if_tools(Direction.TOOL_INPUT, Direction.INPUT), turn, identity)

    async def whole(self, value: object) -> Turn:
        """Return what *value* says and calls, as one turn."""
        said, calls = await self.read(response_of, value, (UNREAD, ""))
        return join_turns((said, Turn(text=calls)))

    def _if_tools(self, direction: Direction, otherwise: Direction) -> Direction:
        """Return *direction*, or *otherwise* where the policy leaves tools out: nothing goes unjudged for that."""
        return direction if self.policy.applies(direction) else otherwise

    async def admit_response(
        self,
        value: object,
        identity: Identity,
        *,
        user: Turn | None = None,
        tools: bool = True,
        required: bool = True,
    ) -> None:
        """Return when *value*, the response to *user*, may go on.

        *tools* says whether its calls are judged, *required* whether one that is empty is judged as such.

        Raises:
            RefusedError: it may not.
        """
        said, calls = await self.read(response_of, value, (UNREAD, ""))
        if not said.is_empty or (required and not calls):
            await self.admit(Direction.OUTPUT, said, identity, user=user)
        if calls and tools:
            direction = self._if_tools(Direction.TOOL_OUTPUT, Direction.OUTPUT)
            await self.admit(direction, Turn(text=calls), identity, user=user)

    def judged_by(self, record: Record) -> Policy:
        """Return the policy that *record* was decided by."""
        return self.guard.policies.seen.get(record.rendering.policy_digest, self.policy)

    def refuse_unrecorded(self, direction: Direction, identity: Identity, error: Exception) -> None:
        """Refuse what could not be checked and recorded because of *error*, but where all is only observed.

        Raises:
            RefusedError: it is refused.
        """
        _log(error)
        cause = cause_without_record(error)
        if (self._enforced or Rollout.parse(self.guard.settings.rollout)).enforces(identity, ""):
            raise RefusedError.without_record(direction, self.policy, cause) from error

    def stream(self, user: Turn, identity: Identity) -> GuardedStream:
        """Return a guarded stream of the answer to *user*."""
        return GuardedStream(
            self.guard,
            user=user,
            policy=self.named,
            identity=identity,
            on_undecided=self.on_undecided,
            rollout=self._enforced,
            say_refusal=False,
            caller=self.caller(Direction.OUTPUT, " (stream)"),
            on_failure=lambda error: self.refuse_unrecorded(Direction.OUTPUT, identity, error),
        )

    def caller(self, direction: Direction, what: str = "") -> Caller:
        """Return who asks, for the record."""
        return Caller(rail=f"langchain {direction.value.replace('_', ' ')}{what}", host=self.host)


def _log(error: Exception) -> None:
    logger.error("a check could not be run: %s", without_content(error))
