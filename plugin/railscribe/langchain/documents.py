"""A guard between a retriever and the prompt.

    chain = {"context": retriever | GuardDocuments() | join, "question": RunnablePassthrough()} | prompt | llm

Each document is judged by itself, as content that comes in: what it says, not its metadata. What is refused, or is no
document, is withheld; the others go on in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableConfig

from railscribe.guard import Guard
from railscribe.langchain.checking import UNREAD, Checker
from railscribe.langchain.refusing import RefusedError
from railscribe.langchain.turns import identity_of, run_of
from railscribe.parts import Turn
from railscribe.policy import Policy
from railscribe.rollout import OnUndecided
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Cause, Direction, Identity

_AT_ONCE = 8


class GuardDocuments(Runnable[Sequence[Document], list[Document]]):
    """Lets through the documents that are allowed; *guard* and the others as for a ``GuardRunnable``.

    Raises:
        RailscribeError: what the guard lacks (a policy, a database, an engine) and the command that mends it.
    """

    def __init__(
        self,
        guard: Guard | Settings | None = None,
        *,
        policy: Policy | str | None = None,
        on_undecided: OnUndecided | None = None,
        rollout: str | None = None,
    ) -> None:
        self._checker = Checker(guard, policy=policy, on_undecided=on_undecided, rollout=rollout)
        self._checker.refuse_misfit(Direction.RETRIEVAL)

    @property
    def guard(self) -> Guard:
        """The guard that checks."""
        return self._checker.guard

    def invoke(
        self,
        input: Sequence[Document],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> list[Document]:
        """Return the documents that are allowed."""
        return self._call_with_config(self._kept, input, config, run_type="chain")

    async def ainvoke(
        self,
        input: Sequence[Document],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> list[Document]:
        """Return the documents that are allowed."""
        return await self._acall_with_config(self._akept, input, config, run_type="chain")

    async def _akept(
        self,
        documents: Sequence[Document],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
    ) -> list[Document]:
        return await self._allowed(documents, identity_of(config, run_of(run_manager)))

    def _kept(
        self, documents: Sequence[Document], run_manager: CallbackManagerForChainRun, config: RunnableConfig
    ) -> list[Document]:
        return run_sync(self._allowed(documents, identity_of(config, run_of(run_manager))))

    async def _allowed(self, documents: object, identity: Identity) -> list[Document]:
        turn = asyncio.Semaphore(_AT_ONCE)
        # What is no list is one thing, to be judged as far as it can be read.
        found: list[Any] = list(documents) if isinstance(documents, (list, tuple)) else [documents]

        async def is_allowed(document: object) -> bool:
            async with turn:
                content = document.page_content if isinstance(document, Document) else document
                text = await self._checker.read(_read, content, UNREAD)
                try:
                    await self._checker.admit(Direction.RETRIEVAL, text, identity)
                except RefusedError:
                    return False
                return True

        allowed = await asyncio.gather(*map(is_allowed, found))
        return [document for document, passes in zip(found, allowed, strict=True) if passes]


def _read(content: object, _: Settings) -> Turn:
    return Turn(text=content) if isinstance(content, str) else Turn(text="", problem=Cause.MODALITY)
