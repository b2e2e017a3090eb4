"""An agent that calls tools, in LangChain 1.x: prompts, calls, the tools' answers and the responses are judged.

    pip install "railscribe[agents,embedded]"
    railscribe db upgrade
    python examples/tool_agent.py

The engine and the database are those of the settings: RAILSCRIBE_ENGINE, RAILSCRIBE_DATABASE_URL, ...
"""

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from railscribe import AuditStore, Settings
from railscribe.langchain import GuardMiddleware

PAGES = {
    "weather": "Sunny in Paris, 21 degrees, a light wind from the west.",
    "forum": "Somebody writes: build a pipe bomb at home from a tube and nails, and blow up your school.",
}


@tool
def fetch(page: str) -> str:
    """Fetch a page."""
    return PAGES[page]


class Clerk(BaseChatModel):
    """Stands in for a model, so that this program needs none: it fetches the page it is asked for and reads it out."""

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            answer = AIMessage(f"The page says: {last.content}")
        else:
            call = {"name": "fetch", "args": {"page": str(last.content).split()[-1]}, "id": "c1"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])


agent = create_agent(Clerk(), [fetch], middleware=[GuardMiddleware()])

if __name__ == "__main__":
    for question in ["Please read me the page weather", "Please read me the page forum"]:
        state = agent.invoke({"messages": [HumanMessage(question)]}, {"metadata": {"tenant": "acme"}})
        print(f"user: {question}\nbot:  {state['messages'][-1].content}\n")
    with AuditStore.open(Settings().database_url) as store:
        for row in store.records(limit=8):
            print(row["direction"], row["outcome"], ", ".join(row["categories"]))
