"""What every engine is: one request in, the model's whole reply out.

Rules

1. An engine author writes ``_complete``; callers use ``complete``, which sets the time-out and turns whatever
   goes wrong into an :class:`~railscribe.errors.EngineError`, so no author can forget either.
2. A completion is a whole value: nothing is raised after ``complete`` has returned.
3. No engine blocks the event loop; in-process work runs on a thread of the engine's own.
4. Cancelling ``complete`` stops the work behind it as soon as it can be stopped.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from typing_extensions import Self

from railscribe.errors import EngineError, EngineTimeoutError
from railscribe.values import Completion, EngineInfo, Request


class Engine(ABC):
    """Runs the safety model on one rendered request at a time; safe to call concurrently."""

    def __init__(self, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """What is known of the machinery. May grow more exact once the engine has started."""

    def info_for(self, adapter: str | None) -> EngineInfo:
        """What is known of the machinery with its *adapter* of that name on; ``None`` is its own."""
        return self.info

    @property
    def address(self) -> str | None:
        """The server's address, without a password; ``None`` in this process."""
        return None

    @property
    def sees(self) -> bool:
        """Whether it looks at pictures, as far as is known; one that does not raises ModalityError for them."""
        return True

    @property
    def scores_categories(self) -> bool:
        """Whether it can score each of a policy's categories, as far as is known (docs/verdicts.md)."""
        return False

    async def start(self) -> None:
        """Make ready what takes long: load weights, warm up. Calling it twice is harmless.

        Raises:
            EngineError: the engine cannot be used; the message says what to do.
        """
        try:
            await self._start()
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(
                f"The {self.info.name} engine could not start ({type(error).__name__})."
            ) from error

    async def complete(self, request: Request) -> Completion:
        """Return the model's whole reply to *request*.

        Raises:
            EngineError: whatever went wrong, with the original as its cause; its ``cause`` goes on record.
        """
        try:
            return await asyncio.wait_for(self._complete(request), self.timeout_s)
        except EngineError:
            raise
        except (TimeoutError, asyncio.TimeoutError) as error:  # two types before Python 3.11
            raise EngineTimeoutError(
                f"The {self.info.name} engine gave no reply within {self.timeout_s:g} s."
            ) from error
        except Exception as error:
            # The message may quote the request, so only the type is repeated.
            raise EngineError(f"The {self.info.name} engine failed ({type(error).__name__}).") from error

    async def aclose(self) -> None:  # noqa: B027 - most engines hold nothing
        """Release what the engine holds. Calling it twice is harmless."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _start(self) -> None:  # noqa: B027 - a remote engine may have nothing to load
        """Load or connect; nothing by default."""

    @abstractmethod
    async def _complete(self, request: Request) -> Completion:
        """Return the reply to *request*, or raise whatever comes."""
