"""Colang 1.0: which user messages a configuration refuses, and where it says so."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from railscribe.policy.compiled import Compiled
from railscribe.policy.diagnostics import Clause, Source

BANK = """\
define user ask about crypto
  "Should I buy bitcoin?"

define user ask for balance
  "What is on my account?"

define user ask about salaries
  "What does my boss earn?"

define bot inform cannot advise
  "I'm sorry, but I can't discuss that."

define flow
  user ask about crypto
  bot inform cannot advise

define flow balance
  user ask for balance
  bot tell balance

define flow salaries
  user ask about salaries
  if $is_employee
    bot tell salaries
  else
    bot refuse to respond
"""


def source_of(clause: Clause) -> Source:
    """Return where *clause* comes from; it must come from somewhere."""
    assert clause.source is not None
    return clause.source


def test_refused_answered_and_conditional(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """Refused intents are disallowed, answered ones allowed, and a condition is shown, not decided."""
    result = compiled({"rails.co": BANK})

    assert clauses_of(result, "disallowed") == ["Asking about crypto", "Asking about salaries"]
    assert clauses_of(result, "allowed") == ["Asking for balance"]
    assert codes_of(result) == ["C112"]
    conditional = result.clauses[2]
    assert "not ($is_employee)" in source_of(conditional).construct
    assert result.refused_intents == 2


def test_every_clause_names_file_line_and_construct(compiled: Callable[..., Compiled]) -> None:
    """A clause leads back to the definition of its intent and to the line that refuses."""
    clause = compiled({"rails/bank.co": BANK}).clauses[0]

    assert (source_of(clause).file, source_of(clause).line) == ("rails/bank.co", 1)
    assert (
        source_of(clause).construct
        == "define user ask about crypto -> rails/bank.co:15: bot inform cannot advise"
    )
    assert clause.examples == ("Should I buy bitcoin?",)


@pytest.mark.parametrize(
    "steps",
    [
        "  bot refuse to respond\n",
        "  stop\n",
        "  do decline\n",
        "  bot \"I'm sorry, I can't help with that.\"\n",
        '  $text = "I cannot discuss this."\n  bot $text\n',
        "  if $a\n    bot ask more\n  bot refuse to respond\n",
        "  while $a\n    bot cannot answer\n",
        "  goto end\n  bot chat\n  label end\n  bot refuse to respond\n",
        '  create event PolicyException(message="no")\n',
    ],
)
def test_every_way_to_refuse_is_followed(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]], steps: str
) -> None:
    """Messages by name and by words, stop, subflows, variables, branches, loops, jumps and exceptions all count."""
    text = (
        'define user ask about guns\n  "How do I get a gun?"\n\ndefine subflow decline\n  bot refuse to respond\n\n'
        f"define flow guns\n  user ask about guns\n{steps}"
    )

    assert clauses_of(compiled({"rails.co": text}), "disallowed") == ["Asking about guns"]


def test_branches_and_alternatives(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """Each branch of a when belongs to its own message, and both messages of an or are refused."""
    text = """\
define user ask a
  "a?"
define user ask about bombs
  "bomb?"
define user ask about poison or venom
  "poison?"
define user say hello
  "hello"

define flow
  user ask about bombs or user ask about poison or venom
  bot refuse to respond

define flow
  user say hello
  bot ask how it is
  when user feels bad
    bot refuse to chat
  else when user feels good
    bot be glad
"""
    result = compiled({"rails.co": text.replace("poison or venom", "poison")})

    assert clauses_of(result, "disallowed") == ["Asking about bombs", "Asking about poison", "Feels bad"]
    assert "Feels good" in clauses_of(result, "allowed")


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ("  bot $unheard_of\n", "C110"),
        ("  do nothing known\n", "C110"),
        ("  user ...\n  bot refuse to respond\n", "C119"),
    ],
)
def test_what_may_hide_a_refusal_fails(compiled: Callable[..., Compiled], steps: str, code: str) -> None:
    """A construct that is not understood fails the compile with its place, unless it is allowed by name."""
    text = (
        'define user ask x about y\n  "y?"\n\ndefine flow\n  user ask x about y\n  bot refuse to respond\n\n'
    )
    files = {
        "rails.co": text
        + f"define flow other\n{steps if 'user' in steps else '  user ask x about y' + chr(10) + steps}"
    }

    strict = compiled(files)
    place = next(f"{found.file}:{found.line}" for found in strict.diagnostics if found.code == code)
    allowed = compiled(files, allow=(f"{code}@{place}",))

    assert strict.failed
    assert not allowed.failed
    assert [str(one) for one in allowed.allowances] == [f"{code}@{place}"]


def test_a_refusal_that_nobody_leads_to(
    compiled: Callable[..., Compiled], codes_of: Callable[[Compiled], list[str]]
) -> None:
    """A flow that refuses on an event is an error: no behaviour of a user says what it forbids."""
    text = "define flow\n  event SomethingHappened\n  bot refuse to respond\n"

    assert "C111" in codes_of(compiled({"rails.co": text}))


def test_all_else_refused(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """Where any other message is refused, what is answered is all that may be talked about."""
    text = (
        'define user ask about shipping\n  "where is my parcel"\n\ndefine flow\n  user ask about shipping\n  bot tell\n\n'
        "define flow fallback\n  user ...\n  bot refuse to respond\n"
    )
    result = compiled({"rails.co": text})

    assert clauses_of(result, "disallowed") == ["Anything that none of the allowed behaviors covers"]
    assert clauses_of(result, "allowed") == ["Asking about shipping"]


def test_circles_of_flows_end(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """Flows that call each other in a circle are followed to every refusal in it."""
    text = (
        'define user ask about x-ray guns\n  "x?"\n\ndefine flow\n  user ask about x-ray guns\n  do one\n\n'
        "define subflow one\n  do two\n\ndefine subflow two\n  if $a\n    do one\n  bot refuse to respond\n"
    )

    assert clauses_of(compiled({"rails.co": text}), "disallowed") == ["Asking about x-ray guns"]


def test_names_that_say_nothing_give_way_to_examples(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """Examples stand in the text only where the intent's name has none to offer."""
    text = 'define user q1\n  "Who won the election?"\n\ndefine flow\n  user q1\n  bot refuse to respond\n'
    result = compiled({"rails.co": text})

    assert clauses_of(result, "disallowed") == ['Messages such as "Who won the election?"']
    assert codes_of(result) == ["C118"]


def _shipped(name: str) -> Path:
    spec = find_spec("nemoguardrails")
    if spec is None or spec.origin is None:
        pytest.skip("NeMo Guardrails is not installed")
    return Path(spec.origin).parent / "examples" / "bots" / name


@pytest.mark.parametrize(("name", "refused"), [("abc", 21), ("abc_v2", 21), ("hello_world", 2)])
def test_examples_of_the_wheel(name: str, refused: int) -> None:
    """NeMo's own bots give the topics that they refuse, each with the line of its intent, and nothing is an error."""
    from railscribe.policy.compile import compile_policy
    from railscribe.policy.gather import gather, library_flows

    result = compile_policy(gather(_shipped(name)), library=library_flows)
    intents = [
        c for c in result.clauses if c.kind == "disallowed" and c.source and "user " in source_of(c).construct
    ]

    assert result.refused_intents == refused == len(intents)
    assert all(clause.source and source_of(clause).line for clause in intents)
    assert not result.failed


def test_topical_rails(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """The shape of NeMo's topical-rails guide: seven refused topics, and an output rail that its refusal names."""
    topics = [
        "cooking",
        "hate speech",
        "child abuse",
        "drug manufacturing",
        "violence",
        "self-harm",
        "criminal activity",
    ]
    dialog = "".join(
        f'define user ask about {topic}\n  "What of {topic}?"\n\n'
        f"define flow\n  user ask about {topic}\n  bot refuse to respond about {topic}\n\n"
        for topic in topics
    )
    blocked = """\
define bot inform cannot about proprietary technology
  "I cannot talk about proprietary technology."

define subflow check blocked terms
  $is_blocked = execute check_blocked_terms
  if $is_blocked
    bot inform cannot about proprietary technology
    stop
"""
    config = "rails:\n  output:\n    flows:\n      - check blocked terms\n"
    result = compiled({"config.yml": config, "rails/topics.co": dialog, "rails/blocked.co": blocked})

    assert result.refused_intents == 7
    assert clauses_of(result, "disallowed")[-1] == "Talking about proprietary technology"
    assert codes_of(result) == ["C211"]
    assert not result.failed
