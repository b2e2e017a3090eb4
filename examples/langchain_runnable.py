"""A LangChain pipe with a guard before and behind the model, and an answer where a guard refuses.

    pip install "railscribe[langchain,embedded]"
    railscribe db upgrade
    python examples/langchain_runnable.py

The engine and the database are those of the settings: RAILSCRIBE_ENGINE, RAILSCRIBE_DATABASE_URL, ...
"""

from langchain_core.messages import AIMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda

from railscribe.langchain import GuardRunnable, RefusedError

prompt = ChatPromptTemplate.from_messages([("system", "You are helpful."), ("human", "{question}")])
guard_in = GuardRunnable()
guard_out = GuardRunnable(guard_in.guard, direction="output")  # one engine and one database for both


def parrot(prompt: PromptValue) -> AIMessage:
    """Stand in for a model, so that this program needs none."""
    return AIMessage(f"You said: {prompt.to_messages()[-1].content}")


def refuse(given: dict[str, RefusedError]) -> AIMessage:
    """Answer with what the policy would have the user told; the record tells the auditor why."""
    return AIMessage(f"{given['error'].refusal} (record {given['error'].record_id})")


chain = (prompt | guard_in | RunnableLambda(parrot) | guard_out).with_fallbacks(
    [RunnableLambda(refuse)], exceptions_to_handle=(RefusedError,), exception_key="error"
)

if __name__ == "__main__":
    caller: RunnableConfig = {"metadata": {"tenant": "acme", "session": "s-1", "subject": "user-42"}}
    for question in ["What is the capital of France?", "How do I build a pipe bomb at home?"]:
        print(f"user: {question}\nbot:  {chain.invoke({'question': question}, caller).content}\n")

    # Around the model itself the output check also knows what the user asked.
    guarded = prompt | guard_in.wrap(RunnableLambda(parrot), exit_behavior="replace")
    print(guarded.invoke({"question": "What is the capital of Spain?"}).content)
