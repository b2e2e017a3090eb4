"""LangChain's guest room: guards as runnables and an observer, on langchain-core alone; agents need langchain.

guard_in, guard_out = GuardRunnable(), GuardRunnable(direction="output")
chain = prompt | guard_in | llm | guard_out
"""

from typing import TYPE_CHECKING, Any

from railscribe.errors import MissingExtraError
from railscribe.langchain.documents import GuardDocuments
from railscribe.langchain.observer import GuardObserver
from railscribe.langchain.refusing import RefusedError
from railscribe.langchain.runnable import GuardedModel, GuardRunnable

if TYPE_CHECKING:
    from railscribe.langchain.middleware import GuardMiddleware

__all__ = [
    "GuardDocuments",
    "GuardMiddleware",
    "GuardObserver",
    "GuardRunnable",
    "GuardedModel",
    "RefusedError",
]


def __getattr__(name: str) -> Any:
    """Import the middleware where it is asked for: it needs the package langchain."""
    if name != "GuardMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from railscribe.langchain.middleware import GuardMiddleware
    except ImportError as error:
        raise MissingExtraError(
            "The middleware needs the package langchain.", hint="pip install 'railscribe[agents]'"
        ) from error
    return GuardMiddleware
