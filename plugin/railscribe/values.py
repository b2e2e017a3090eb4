"""The values that travel the one road: exchange, request, completion, verdict, decision, record, late trace.

All are frozen, slotted and keyword-only. None reads a file, a clock or the environment. Times are aware UTC,
durations are milliseconds, digests are lower-case SHA-256 hex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NoReturn


class Side(str, Enum):
    """Which half of an exchange a judgement is about."""

    USER = "user"
    RESPONSE = "response"


CategoryScores = Mapping[Side, Mapping[str, float]]
"""By side, a score for each of a policy's categories."""


class Direction(str, Enum):
    """Which way content was travelling when it was checked."""

    INPUT = "input"
    OUTPUT = "output"
    RETRIEVAL = "retrieval"
    """What was looked up, on its way to the model."""
    TOOL_OUTPUT = "tool_output"
    """Calls that the model wants to make, on their way to the tools."""
    TOOL_INPUT = "tool_input"
    """What a tool answered, on its way to the model."""

    @property
    def to_the_model(self) -> bool:
        """Whether the content goes to the model, and so is the user's side of a verdict."""
        return self in (Direction.INPUT, Direction.RETRIEVAL, Direction.TOOL_INPUT)


class Label(str, Enum):
    """The model's word on one side."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNREADABLE = "unreadable"


class Action(str, Enum):
    """What a policy wants done about a category. The order is severity's."""

    ALLOW = "allow"
    FLAG = "flag"
    BLOCK = "block"


SEVERITY = (Action.ALLOW, Action.FLAG, Action.BLOCK)


class Outcome(str, Enum):
    """What the policy makes of a verdict."""

    ALLOW = "allow"
    FLAG = "flag"
    BLOCK = "block"
    UNDECIDED = "undecided"


class Enforcement(str, Enum):
    """What was done to the traffic. Never the same fact as the decision."""

    PASSED = "passed"
    REFUSED = "refused"
    OBSERVED = "observed"
    """It would have been refused, and was let through: nothing is enforced here yet."""


class Mode(str, Enum):
    """How a policy travels to the model (docs/contract.md)."""

    BUILTIN = "builtin"
    """No text: the model's own 24 categories."""
    POLICY = "policy"
    """Mode A: ``custom_policy``."""
    TAXONOMY = "taxonomy"
    """Mode B: ``custom_taxonomy``."""


class Cause(str, Enum):
    """Why a side is unreadable or a decision undecided. Stored as is; never renamed."""

    # The reply is not a verdict.
    EMPTY_REPLY = "empty_reply"
    TRUNCATED = "truncated"
    FINISH_REASON = "finish_reason"
    UNCLOSED_THINK = "unclosed_think"
    STRAY_TEXT = "stray_text"
    DUPLICATE_FIELD = "duplicate_field"
    MISSING_SIDE = "missing_side"
    ECHOED_FORMAT = "echoed_format"
    UNKNOWN_LABEL = "unknown_label"
    OUT_OF_ORDER = "out_of_order"
    UNINVITED_UNSAFE = "uninvited_unsafe"
    CATEGORIES_WITHOUT_UNSAFE = "categories_without_unsafe"
    # There is no reply.
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    ENGINE_FAILED = "engine_failed"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_REFUSED = "engine_refused"
    ENGINE_PROTOCOL = "engine_protocol"
    BAD_NUMBERS = "bad_numbers"
    OUT_OF_MEMORY = "out_of_memory"
    POLICY_IGNORED = "policy_ignored"
    """``railscribe doctor`` found that a policy does not reach the model behind this engine."""
    # There was nothing the engine could judge.
    MODALITY = "modality"
    TOO_LONG = "too_long"
    EMPTY = "empty"
    BAD_IMAGE = "bad_image"
    TOO_MANY_IMAGES = "too_many_images"
    # The policy has a threshold and the engine gave no score to hold against it.
    SCORE_MISSING = "score_missing"
    # The policy cannot be decided by here: refused whatever on_undecided says.
    POLICY_NOT_APPLICABLE = "policy_not_applicable"
    """Its ``applies_to`` leaves out the direction that was asked about."""
    NO_CATEGORY_SCORES = "no_category_scores"
    """It has thresholds on categories, and this engine never scores them."""
    # The rail itself failed (an unknown policy, broken settings, a bug), or was switched off: refused likewise.
    NOT_RUN = "not_run"
    NOT_RECORDED = "not_recorded"
    """Neither the database nor the spool took the record. Seen in answers alone: there is none that holds it."""


class Stage(str, Enum):
    """How safe an entry is that was appended (docs/audit-store.md)."""

    ACCEPTED = "accepted"
    """In memory."""
    DURABLE = "durable"
    """Committed and flushed to the disk, in the database or in the spool."""
    SEALED = "sealed"
    """Under a signed checkpoint."""


class Reasoning(str, Enum):
    """When the model is asked to think."""

    OFF = "off"
    VERDICT = "verdict"
    """At once: its verdict counts."""
    DEFERRED = "deferred"
    """After the decision, in the background: its trace is evidence and decides nothing."""


class Review(str, Enum):
    """Why a person should look at a record. Stored as is; never renamed."""

    TRACE_CONTRADICTS = "trace_contradicts"
    """A trace came to another label than the verdict after it."""
    THINK_DISAGREES = "think_disagrees"
    """With thinking, another label came than without."""
    TRACE_MISSING = "trace_missing"
    """A trace was asked for and did not come, or came empty."""
    SCORE_IN_BAND = "score_in_band"
    SCORE_MISSING = "score_missing"
    """There is a review band and the engine gave no score to hold against it."""


class ContentMode(str, Enum):
    """How the audit store keeps what was said. Evidence is the same in every mode (docs/privacy.md)."""

    FULL = "full"
    REDACTED = "redacted"
    DIGEST = "digest"
    """A keyed digest, and nothing else."""
    ENCRYPTED = "encrypted"
    """Under a key of the subject's own."""


class LateState(str, Enum):
    """What became of reasoning that was deferred."""

    RECEIVED = "received"
    """A reply came, readable or not, with a trace or without."""
    FAILED = "failed"
    """The engine gave no reply."""
    LOST = "lost"
    """It was never thought to the end."""


class Lost(str, Enum):
    """Why deferred reasoning was lost."""

    QUEUE_FULL = "queue_full"
    CLOSED = "closed"
    """The guard was closed, or its event loop ended, before its turn or its end."""


class ProbeName(str, Enum):
    """What ``railscribe doctor`` tries on an engine."""

    POLICY = "policy"
    TAXONOMY = "taxonomy"
    CATEGORIES = "categories"
    THINKING = "thinking"
    RESPONSE = "response"
    IMAGE = "image"
    LOGPROBS = "logprobs"


class ProbeResult(str, Enum):
    """What an engine made of one of them."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"


class ImageUse(str, Enum):
    """How a verdict came to know a picture."""

    SEEN = "seen"
    """The model was given the pixels."""
    SEEN_AND_READ = "seen_and_read"
    """The model was given the pixels, and the text found in the picture was judged beside them."""
    READ = "read"
    """The model is blind: the text found in the picture was judged."""
    NOTHING_READ = "nothing_read"
    """The model is blind and no text was found."""
    NOT_JUDGED = "not_judged"
    """The check ended before the picture was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """On whose behalf a check runs. NeMo Guardrails gives none of this: the caller does."""

    tenant: str = "default"
    session: str | None = None
    request: str | None = None
    subject: str | None = None
    """The person the content is about or from; erasure goes by it."""
    language: str | None = None
    """The language to refuse in, ISO 639-1, where the caller knows it. Not part of a record."""
    policy: str | None = None
    """The policy to judge this request by, by reference (docs/policy-registry.md). A record names what it came to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One picture, decoded far enough to know it is one. Exactly one of ``data`` and ``url`` is set."""

    data: bytes | None
    """The file as it came, with all its frames."""
    url: str | None = None
    """Set only where configuration lets a remote engine fetch it; Railscribe itself never does."""
    digest: str | None
    media_type: str | None
    width: int | None  # pixels, upright
    height: int | None  # pixels, upright
    frame: int | None = None
    """Which frame or page of the file this is, from 1; of those that look alike, the first."""
    frames: int | None = None
    """How many the file has."""
    mode: str | None = None
    """How it keeps its colours, in Pillow's words: ``RGB``, ``P``, ``CMYK``…"""
    orientation: int | None = None
    """EXIF's, 1 to 8, where there is one."""
    perceptual_digest: str | None = None
    """64 bits, hex, of what is seen: alike for pictures that look alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is judged: a user turn, its picture and, optionally, the assistant's response."""

    user: str
    response: str | None = None
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One policy as the model will read it, with both of its identities."""

    policy_name: str
    policy_version: str
    policy_digest: str
    """Of the canonical document: thresholds and actions included."""
    document: str
    """The canonical document itself, JSON."""
    mode: Mode
    text: str
    """What the model reads. In mode ``builtin`` nothing is sent and this is the taxonomy it carries."""
    text_digest: str
    category_names: tuple[str, ...]
    """The names the model may answer with."""
    closed: bool = False
    """Whether it can answer with no other: every clause of the policy has a name."""
    scores_categories: bool = False
    """Whether the policy can only be decided with a score for each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was asked of the model besides the judgement."""

    categories: bool = True
    thinking: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One exchange under one policy, neutralised, ready for an engine."""

    user: str
    response: str | None
    image: Image | None
    mode: Mode
    policy_text: str | None
    flags: Flags
    neutralised: tuple[str, ...] = ()
    """Names of the structure markers that content carried and that were defused."""
    names: tuple[str, ...] | None = None
    """The only names that the model can answer with; ``None`` where it may name a clause in its own words."""
    adapter: str | None = None
    """Which of the engine's adapters to judge with; ``None`` is its own."""
    scope: str | None = None
    """Who may share what the engine remembers of this prompt; ``None`` is everybody."""
    scored_names: tuple[str, ...] = ()
    """The names that each need a score; empty where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReading:
    """What became of a picture in one check."""

    use: ImageUse
    text: str | None = None
    """The words that were read, empty where there were none; ``None`` where nobody tried."""
    reader: str | None = None
    """What read it, with its version."""
    seen_size: tuple[int, int] | None = None
    """Width and height to which the model's processor brings every picture, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An engine's whole reply to one request."""

    text: str
    finish_reason: str | None
    scores: Mapping[Side, float] = field(default_factory=dict)
    """Probability of *unsafe* against *safe* at each label, where the engine can tell it (0..1)."""
    category_scores: CategoryScores = field(default_factory=dict)
    """By side, the score of each name that was to be scored (docs/verdicts.md)."""
    image: ImageReading | None = None
    neutralised: tuple[str, ...] = ()
    """Markers the engine itself defused: those in text that it read from a picture."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    served_model: str | None = None
    """The model's name in the server's own words."""
    decoding: str | None = None
    """How the labels were got, where the engine chooses: ``forced`` (read off) or ``greedy`` (written)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """Which machinery spoke. The same weights answer differently elsewhere, so all of it is evidence."""

    name: str
    model: str
    revision: str | None = None
    adapter_digest: str | None = None
    template_digest: str | None = None
    backend: str | None = None
    backend_version: str | None = None
    dtype: str | None = None
    adapter: str | None = None
    """The adapter's name, where an engine carries several."""
    decoding: str | None = None
    """How labels were got: "greedy", or "forced" where the reply's fixed words were given and not decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One category of a verdict."""

    name: str
    """The policy's name for it, or the model's own word where the policy has none like it."""
    said: str
    """Exactly what the model wrote."""
    known: bool
    near: bool = False
    """Whether only its likeness to the policy's name made it that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideVerdict:
    """What the model said about one side."""

    label: Label
    score: float | None = None
    cause: Cause | None = None
    """Set exactly when the label is unreadable."""
    unread: Cause | None = None
    """Of a side judged in several calls and unsafe: why one of them, which may hide anything, was unreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the model said about one exchange.

    There is no truth value on purpose: ``if verdict`` reads as "safe" to half of us and as "flagged" to the
    other half.
    """

    user: SideVerdict
    response: SideVerdict | None = None
    """``None`` when no response was sent."""
    categories: tuple[Category, ...] = ()
    """One list for both sides: the model does not say which side a category belongs to."""
    trace: str | None = None
    reply: str | None = None
    """Exactly what the model wrote; ``None`` when it wrote nothing at all."""
    notes: tuple[str, ...] = ()
    """Named deviations that did not make the reply unreadable."""
    category_scores: CategoryScores = field(default_factory=dict)
    """By side, the score of each of the policy's categories; empty where they were not scored."""
    unnamed: bool = False
    """Whether one of several calls said unsafe and named no category."""

    def category_score(self, name: str, sides: Sequence[Side]) -> float | None:
        """Return the higher score of the category *name* on *sides*, where it was scored."""
        scores = [self.category_scores[side] for side in sides if side in self.category_scores]
        return max((of_side[name] for of_side in scores if name in of_side), default=None)

    def side(self, side: Side) -> SideVerdict | None:
        """Return the verdict on *side*."""
        return self.user if side is Side.USER else self.response

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is not a boolean: compare verdict.user.label, or use a decision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy makes of a verdict."""

    outcome: Outcome
    sides: tuple[Side, ...]
    """The sides it was decided on."""
    categories: tuple[str, ...] = ()
    """The names that led to a block or a flag."""
    cause: Cause | None = None
    """Set exactly when undecided."""
    rule: str = field(default="", compare=False)
    """The rule that won, in words of ours and names of the policy's; no content."""

    def __bool__(self) -> NoReturn:
        raise TypeError("a decision is not a boolean: compare decision.outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One engine call of several over one exchange: a window of a long text, one picture of several, or the same
    content again with thinking."""

    user_span: tuple[int, int] | None
    """Characters of the exchange's text, from and up to; ``None`` where that side was not sent."""
    response_span: tuple[int, int] | None
    image: int | None
    """Which of the exchange's pictures was sent, or the words in it."""
    completion: Completion | None
    verdict: Verdict
    deciding: bool
    """Whether the record's verdict was taken from this call."""
    engine_ms: float | None
    thinking: bool = False
    image_text_span: tuple[int, int] | None = None
    """Characters of the words read in the picture, which were sent in its place, from and up to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPart:
    """Which part of a streamed response a check judged."""

    stream: str
    """The stream's own id, shared by its checks."""
    number: int
    """From 0."""
    final: bool
    """Whether it judged the response to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One check, whole: what was judged, by what, against what, with which result, for whom and when."""

    id: str
    """Time-ordered UUID (version 7), lower-case with dashes."""
    checked_at: datetime
    identity: Identity
    direction: Direction
    rail: str
    host: str
    """Who called: ``nemoguardrails 0.24.1``, ``langchain-core 1.7.2``, ``railscribe-cli``…"""
    exchange: Exchange
    rendering: Rendering
    engine: EngineInfo
    flags: Flags
    neutralised: tuple[str, ...]
    completion: Completion | None
    verdict: Verdict
    decision: Decision
    enforcement: Enforcement
    image: ImageReading | None
    """What became of the pictures as a whole: of several, the use that says least."""
    latency_ms: Mapping[str, float]
    """Milliseconds by stage: ``render``, ``engine``, ``decide``; the store adds its own."""
    pieces: tuple[Piece, ...] = ()
    """The engine calls, in their order, where there was more than one."""
    reasoning: Reasoning = Reasoning.OFF
    """How this very check was thought about: ``deferred`` promises a :class:`LateTrace`."""
    readings: tuple[ImageReading, ...] = ()
    """What became of each of the exchange's pictures, in their order."""
    reviews: tuple[Review, ...] = ()
    """Why a person should look, as far as it was known when the record was written."""
    rollout: str | None = None
    """What the check fell under where not all is enforced: ``observe`` or a percentage; ``None``: ``enforce``."""
    part: StreamPart | None = None
    """Of which stream it judged which part."""
    repeats: str | None = None
    """The id of the check whose verdict was taken over from the cache; no engine was asked."""

    def __post_init__(self) -> None:
        _require_aware(checked_at=self.checked_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateTrace:
    """What became of one record's deferred reasoning. Each such record gets exactly one, whatever happens."""

    record_id: str
    checked_at: datetime
    """The record's; with its id, the key."""
    requested_at: datetime
    ended_at: datetime
    state: LateState
    cause: Cause | Lost | None = None
    """Why there is no reply, or why it cannot be read; never unset when failed or lost."""
    completion: Completion | None = None
    verdict: Verdict | None = None
    """Set exactly when received."""
    disagrees: bool | None = None
    """Whether it says another label than the record, on a side that both could read."""
    contradicts: bool | None = None
    """Whether its trace concludes otherwise than its own verdict; ``None`` where there is no trace."""
    engine_ms: float | None = None
    identity: Identity | None = None
    """The record's, with the name of its policy: they say how content is kept. Asked of the store where unset."""
    policy: str | None = None

    def __post_init__(self) -> None:
        _require_aware(checked_at=self.checked_at, requested_at=self.requested_at, ended_at=self.ended_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One thing that was tried on an engine, and what the engine made of it."""

    name: ProbeName
    result: ProbeResult
    detail: str
    """Our own words on what was seen; never content."""
    engine: EngineInfo
    address: str | None
    """The server's, without user and password; ``None`` in process."""
    probed_at: datetime

    def __post_init__(self) -> None:
        _require_aware(probed_at=self.probed_at)


def _require_aware(**times: datetime) -> None:
    for name, time in times.items():
        if time.utcoffset() is None:
            raise ValueError(f"{name} must be an aware datetime")
