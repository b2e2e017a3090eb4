"""From what NeMo Guardrails hands a rail action to an exchange.

Rules

1. The input rail judges the user's whole unanswered turn. NeMo shows a rail the last user message only, while
   the main model reads all of them: two messages in a row would carry the first one past the rail.
2. The output rail judges the bot's message, its reasoning before it where the model gave one, with the user's
   message as context. NeMo shows reasoning to the user.
3. Tool calls are judged, behind the reasoning before them, as the assistant's response to the user's turn; what
   tools answer and what was retrieved, as content that comes in.
4. A chunk of a stream is judged with the user's last message alone: the host's other channels are empty
   there, or still hold the previous request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemoguardrails.context import raw_llm_request

from railscribe.parts import Turn, calls_text, exchange_of, join_turns, read_turn
from railscribe.settings import Settings
from railscribe.values import Cause, Direction, Exchange

Events = Sequence[object]
"""Mappings in Colang 1.0, objects in 2.x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTurns:
    """The parts of one call into a rail, as the host holds them; ``bot`` is ``None`` for an input rail."""

    user: tuple[object, ...]
    bot: tuple[object, ...] | None

    @property
    def are_plain(self) -> bool:
        """Whether all of it is text, which takes no time to read."""
        return all(part is None or isinstance(part, str) for part in (*self.user, *(self.bot or ())))


def host_turns(
    direction: Direction, context: Mapping[str, Any], events: Events | None, given: object = None
) -> HostTurns:
    """Return what is to be judged: *given*, or what the host's *context* holds.

    *events* is ``None`` for a chunk of a stream (rule 4).
    """
    if direction in (Direction.RETRIEVAL, Direction.TOOL_INPUT):
        return HostTurns(user=(given,), bot=None)
    last = context.get("user_message")
    user = (*_earlier_unanswered(last), last) if events is not None else (last,)
    if direction is Direction.INPUT:
        return HostTurns(user=user, bot=None)
    if direction is Direction.TOOL_OUTPUT:
        return HostTurns(user=user, bot=(*_reasoning(events), calls_text(given)))
    return HostTurns(user=user, bot=(*_reasoning(events), context.get("bot_message")))


def read_exchange(turns: HostTurns, settings: Settings) -> tuple[Exchange, Cause | None]:
    """Return *turns* as an exchange, with the cause why it cannot be judged if it cannot."""
    bot = None if turns.bot is None else _read(turns.bot, settings)
    return exchange_of(_read(turns.user, settings), bot)


def chunks_of(context: Mapping[str, Any], given: object = None) -> list[object]:
    """Return what was retrieved, a chunk an item where the host says how they part."""
    if isinstance(given, (list, tuple)):
        return list(given)
    together = given if given is not None else context.get("relevant_chunks")
    apart = context.get("relevant_chunks_sep")
    if (
        isinstance(apart, list)
        and isinstance(together, str)
        and "\n".join(map(str, apart)) == together.strip()
    ):
        return apart
    return [together] if together not in (None, "") else []


def _read(parts: tuple[object, ...], settings: Settings) -> Turn:
    return join_turns(read_turn(part, settings) for part in parts)


def _earlier_unanswered(last: object) -> tuple[object, ...]:
    """Return the user messages between the last answer and *last* (rule 1)."""
    request = raw_llm_request.get()
    if not isinstance(request, list):
        return ()
    unanswered: list[object] = []
    for message in reversed(request):
        if message.get("role") == "user":
            unanswered.append(message.get("content"))
        elif message.get("role") == "assistant" and unanswered:
            break
    # The last one is *last* itself, perhaps rewritten by a rail before this one.
    return tuple(reversed(unanswered[1:])) if last is not None else tuple(reversed(unanswered))


def _thoughts(events: Events | None) -> list[dict[str, Any]]:
    """Return the events in which the model thought in this turn, in order; Colang 2.x has none.

    NeMo 0.24 hands the first one to the caller, before the answer or beside the calls.
    """
    thoughts = []
    for event in reversed(events if isinstance(events, (list, tuple)) else ()):
        if not isinstance(event, dict) or event.get("type") == "UtteranceUserActionFinished":
            break
        if event.get("type") == "BotThinking":
            thoughts.append(event)
    return thoughts[::-1]


def _reasoning(events: Events | None) -> tuple[str, ...]:
    return tuple(str(event["content"]) for event in _thoughts(events) if event["content"])


def withhold_reasoning(events: Events | None) -> None:
    """Empty what the model thought in this turn: what is refused would leave beside the refusal.

    The events that NeMo shows a rail are the ones that it looks through for the caller, and there is no other way in.
    """
    for event in _thoughts(events):
        event["content"] = ""
