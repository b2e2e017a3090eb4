"""One guard as LangChain's rooms use it: what they have in common. No host logic here but the records' names."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core import __version__ as _core_version

from railscribe.admission import refuse_misfit
from railscribe.guard import Guard
from railscribe.langchain.turns import RefusedError
from railscribe.language import told
from railscribe.parts import Turn
from railscribe.policy import Policy
from railscribe.recording import Caller
from railscribe.rollout import OnUndecided, Rollout
from railscribe.settings import Settings, load_settings
from railscribe.standing import StandingGuard
from railscribe.streaming import GuardedStream
from railscribe.values import Cause, Direction, Enforcement, Exchange, Identity, Record


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
        self.rollout = rollout
        self.host = host
        self._enforced = None if rollout is None else Rollout.parse(rollout)

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
        policy = await self.guard.policy_for(self.named, identity)
        exchange, problem = _exchange(direction, turn, user or Turn(text=""))
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
        record = await self.check(direction, turn, identity, user=user)
        if record.enforcement is Enforcement.REFUSED:
            policy = await self.guard.policy_for(self.named, identity)
            # On a thread: the user's language may have to be found.
            raise RefusedError(record, policy, await asyncio.to_thread(told, policy, record))

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
        )

    def caller(self, direction: Direction, what: str = "") -> Caller:
        """Return who asks, for the record."""
        return Caller(rail=f"langchain {direction.value.replace('_', ' ')}{what}", host=self.host)

    def facing(self) -> dict[str, Any]:
        """Return what another one of the same choices is made with."""
        return {"policy": self.named, "on_undecided": self.on_undecided, "rollout": self.rollout}


def _exchange(direction: Direction, turn: Turn, user: Turn) -> tuple[Exchange, Cause | None]:
    if direction.to_the_model:
        return Exchange(user=turn.text, images=turn.images), turn.problem
    problem = turn.problem or user.problem or (Cause.MODALITY if turn.images else None)
    return Exchange(user=user.text, response=turn.text, images=user.images + turn.images), problem
