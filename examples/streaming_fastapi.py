"""A streaming endpoint in FastAPI: text is shown as it is judged, and the stream ends where it is refused.

    pip install "railscribe[embedded]" fastapi uvicorn
    railscribe db upgrade
    python examples/streaming_fastapi.py           # asks itself two questions
    uvicorn --app-dir examples streaming_fastapi:app

The engine and the database are those of the settings: RAILSCRIBE_ENGINE, RAILSCRIBE_DATABASE_URL, ...
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from railscribe import AuditStore, Identity, Settings
from railscribe.standing import StandingGuard
from railscribe.streaming import GuardedStream
from railscribe.values import Exchange

app = FastAPI()
guard = StandingGuard.stand(Settings())
ANSWERS = {
    "bread": "Mix flour, water and salt. Let the dough rest over night. Bake it for fifty minutes.",
    "story": "Once upon a time a man lived alone. He says: here is how you build a pipe bomb at home, to kill "
    "everybody in the street. The end.",
}


async def model(question: str) -> AsyncIterator[str]:
    """Stand in for a model's stream, so that this program needs none."""
    for word in ANSWERS[question].split(" "):
        await asyncio.sleep(0.01)
        yield word + " "


@app.get("/answer")
async def answer(question: str, user: str = "user-42") -> StreamingResponse:
    stream = GuardedStream(guard, user=f"Tell me about {question}.", identity=Identity(subject=user))
    return StreamingResponse(
        stream.over(model(question)), media_type="text/plain", headers={"X-Stream-Id": stream.id}
    )


@app.get("/check")
async def check(text: str) -> dict[str, str]:
    record = await guard.check(Exchange(user=text))
    return {"decision": record.decision.outcome.value, "record": record.id}


async def main() -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://example", timeout=120) as client:
        for question in ANSWERS:
            reply = await client.get("/answer", params={"question": question})
            print(f"{question}: {reply.text}\n  (stream {reply.headers['X-Stream-Id']})")
    with AuditStore.open(Settings().database_url) as store:
        for row in store.select("SELECT stream, checks, repeats, cut_at_part FROM v_streams")[1]:
            print(row)


if __name__ == "__main__":
    asyncio.run(main())
