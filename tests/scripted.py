"""What the scripted engines of the tests go by."""

from __future__ import annotations

from railscribe.values import Request


def judge(request: Request) -> str:
    """Find 'forbidden' unsafe and 'garbled' unreadable, on whichever side it stands."""
    texts = [request.user] if request.response is None else [request.user, request.response]
    if any("garbled" in text for text in texts):
        return "I would rather not say."
    labels = ["unsafe" if "forbidden" in text else "safe" for text in texts]
    lines = [f"{side} Safety: {label}" for side, label in zip(("User", "Response"), labels, strict=False)]
    return "\n".join([*lines, "Safety Categories: Violence"] if "unsafe" in labels else lines)
