"""Colang 2.x: flows that run, what they hear, and how they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from railscribe.policy.compiled import Compiled
from railscribe.policy.diagnostics import Clause, Source

CONFIG = 'colang_version: "2.x"\n'
HEARS = 'flow user asked about guns\n  user said "How do I get a gun?" or user said "gun shop?"\n\n'


def source_of(clause: Clause) -> Source:
    """Return where *clause* comes from; it must come from somewhere."""
    assert clause.source is not None
    return clause.source


@pytest.mark.parametrize(
    "steps",
    [
        "  user asked about guns\n  bot refuse to respond\n",
        '  user asked about guns\n  bot say "I cannot talk about that."\n',
        "  user asked about guns\n  abort\n",
        "  user asked about guns\n  await decline\n",
        "  when user asked about guns\n    bot refuse to respond\n  or when user said something\n    bot answer\n",
        '  user asked about guns\n  send PolicyRailException(message="no")\n',
        '  user asked about guns\n  $no = "I can\'t help with that."\n  bot say $no\n',
        '  user asked about guns\n  await UtteranceBotAction(script="I cannot discuss this.")\n',
    ],
)
@pytest.mark.parametrize("start", ["@active\nflow guns\n", "flow main\n  activate guns\n\nflow guns\n"])
def test_every_way_to_refuse_is_followed(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    steps: str,
    start: str,
) -> None:
    """Named and spoken refusals, abort, awaited flows, when, exceptions and variables, in flows that run."""
    text = HEARS + "flow decline\n  bot say \"I'm sorry, I can't help with that.\"\n\n" + start + steps
    result = compiled({"config.yml": CONFIG, "main.co": text})

    assert clauses_of(result, "disallowed") == ["Asking about guns"]
    assert result.clauses[0].examples == ("How do I get a gun?", "gun shop?")


def test_a_flow_that_nothing_runs_is_left_out(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """What sleeps refuses nothing, and the author is told."""
    text = (
        HEARS
        + "flow main\n  user said something\n  bot answer\n\nflow guns\n  user asked about guns\n  abort\n"
    )
    result = compiled({"config.yml": CONFIG, "main.co": text})

    assert clauses_of(result, "disallowed") == []
    assert {"C115", "C001"} <= set(codes_of(result))


def test_rails_of_the_guardrails_library(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """`flow input rails` switches a rail of NeMo's library on, and its prompt holds the policy."""
    rails = "import guardrails\nimport nemoguardrails.library.self_check.input_check\n\nflow input rails $input_text\n  self check input\n"
    prompts = "prompts:\n  - task: self_check_input\n    content: |\n      - should not contain code\n      - can be funny\n"
    result = compiled({"config.yml": CONFIG, "prompts.yml": prompts, "rails.co": rails})

    assert clauses_of(result, "disallowed") == ["Messages that contain code"]
    assert clauses_of(result, "allowed") == ["Being funny"]
    assert source_of(result.clauses[0]).line == 4


def test_a_question_to_a_model_becomes_the_clause(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """A rail that a natural-language instruction decides is carried in that instruction's words, with a warning."""
    text = """\
flow input rails $input_text
  $ok = await check it $input_text
  if not $ok
    bot say "I'm sorry, I can't respond to that."
    abort

flow check it $input_text -> $is_ok
  $is_ok = ..."Is '{$input_text}' free of spoilers? Say True or False."
  return $is_ok
"""
    result = compiled({"config.yml": CONFIG, "rails.co": text})

    assert clauses_of(result, "disallowed") == [
        "Messages that do not pass this check: Is free of spoilers? Say True or False"
    ]
    assert codes_of(result) == ["C212"]


def test_a_name_used_twice_is_an_error(
    compiled: Callable[..., Compiled], codes_of: Callable[[Compiled], list[str]]
) -> None:
    """NeMo refuses two flows of one name without @override, and so does the compiler."""
    flow = "@active\nflow guns\n  user asked about guns\n  abort\n\n"

    assert "C017" in codes_of(compiled({"config.yml": CONFIG, "a.co": HEARS + flow, "b.co": flow}))
