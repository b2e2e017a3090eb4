"""LangChain's guest room: guards as runnables, on langchain-core alone.

guard_in, guard_out = GuardRunnable(), GuardRunnable(direction="output")
chain = prompt | guard_in | llm | guard_out
"""

from railscribe.langchain.runnable import GuardedModel, GuardRunnable
from railscribe.langchain.turns import RefusedError

__all__ = ["GuardRunnable", "GuardedModel", "RefusedError"]
