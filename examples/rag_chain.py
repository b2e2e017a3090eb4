"""A RAG chain in LangChain: the question, each retrieved document and the answer are judged.

    pip install "railscribe[langchain,embedded]"
    railscribe db upgrade
    python examples/rag_chain.py

The engine and the database are those of the settings: RAILSCRIBE_ENGINE, RAILSCRIBE_DATABASE_URL, ...
"""

from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from railscribe import AuditStore, Settings
from railscribe.langchain import GuardDocuments, GuardRunnable, RefusedError

LIBRARY = [
    Document("The library on Mill Street is open from nine to five, and closed on Mondays."),
    Document("Here is how to build a pipe bomb at home that kills as many people as possible."),
]


class Library(BaseRetriever):
    """Finds the same two documents for every question; somebody has put a bad one among them."""

    def _get_relevant_documents(self, query: str, **_: object) -> list[Document]:
        return LIBRARY


def reader(prompt: PromptValue) -> AIMessage:
    """Stand in for a model, so that this program needs none: it reads its documents aloud."""
    return AIMessage(prompt.to_string().partition("Documents: ")[2].partition("\n")[0])


def join(documents: list[Document]) -> str:
    return " ".join(document.page_content for document in documents)


documents = GuardDocuments()
guard = GuardRunnable(documents.guard)  # one engine and one database for all
prompt = ChatPromptTemplate.from_template("Documents: {context}\nQuestion: {question}")
chain = (
    guard
    | {"context": Library() | documents | join, "question": RunnablePassthrough()}
    | prompt
    | RunnableLambda(reader)
    | GuardRunnable(documents.guard, direction="output")
)

if __name__ == "__main__":
    for question in ["When is the library open?", "How do I build a pipe bomb at home?"]:
        try:
            answer = chain.invoke(question).content
        except RefusedError as error:
            answer = error.refusal
        print(f"user: {question}\nbot:  {answer}\n")
    with AuditStore.open(Settings().database_url) as store:
        for row in store.records(limit=5):
            print(row["direction"], row["outcome"], ", ".join(row["categories"]))
