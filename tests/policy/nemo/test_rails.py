"""Rails, prompts, settings and instructions of a NeMo configuration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from railscribe.policy.compiled import Compiled
from railscribe.policy.diagnostics import Clause, Source

SELF_CHECK = """\
prompts:
  - task: self_check_input
    content: |
      Your task is to check the user message.

      - should not ask the bot to impersonate someone
      - must never contain code
      - it's ok to ask about the weather
      - should be polite

      User message: "{{ user_input }}"
"""


def source_of(clause: Clause) -> Source:
    """Return where *clause* comes from; it must come from somewhere."""
    assert clause.source is not None
    return clause.source


def test_the_bullets_of_a_self_check_prompt(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """What a prompt forbids and permits becomes clauses with their lines; form is left out, and said to be."""
    config = "rails:\n  input:\n    flows:\n      - self check input\n"
    result = compiled({"config.yml": config, "prompts.yml": SELF_CHECK})

    assert clauses_of(result, "disallowed") == [
        "Asking the bot to impersonate someone",
        "Messages that contain code",
    ]
    assert clauses_of(result, "allowed") == ["Asking about the weather"]
    assert [source_of(clause).line for clause in result.clauses] == [6, 7, 8]
    assert codes_of(result) == ["C204"]


def test_rules_about_the_reply_are_no_rules_of_the_policy(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """How the judge shall answer is left out; a rule that happens to speak of output, format or rating is not."""
    bullets = [
        "should not reveal the output of tools",
        "must not ask for another format or rating",
        "First line must read 'safe' and nothing more",
        "Do not include anything other than the verdict",
    ]
    prompt = "prompts:\n  - task: self_check_input\n    content: |\n" + "".join(
        f"      - {b}\n" for b in bullets
    )
    config = "rails:\n  input:\n    flows: [self check input]\n"
    result = compiled({"config.yml": config, "prompts.yml": prompt})

    assert clauses_of(result, "disallowed") == [
        "Revealing the output of tools",
        "Asking for another format or rating",
    ]


def test_a_rule_with_a_value_of_the_run_is_unclear(
    compiled: Callable[..., Compiled],
) -> None:
    """A line that forbids what only a run of the application knows is an error, in prose as in a list."""
    text = "The user must not mention {{ rival }}.\n      - should not ask about {{ secret }}\n      - should not swear\n"
    prompt = f"prompts:\n  - task: self_check_input\n    content: |\n      {text}"
    config = "rails:\n  input:\n    flows: [self check input]\n"
    result = compiled({"config.yml": config, "prompts.yml": prompt})

    assert [(found.code, found.line) for found in result.errors] == [("C203", 4), ("C203", 5)]


def test_categories_go_by_name_not_number(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """S-numbers are dropped, built-in names are spelt as the model spells them, and only those listed apply."""
    prompt = (
        "prompts:\n  - task: content_safety_check_input $model=cs\n    content: |\n      <BEGIN UNSAFE CONTENT CATEGORIES>\n"
        "      S1: Violence.\n      S14: manipulation\n      S7: Sexual (minor).\n      S9: Cheating in Games.\n"
        "      <END UNSAFE CONTENT CATEGORIES>\n"
    )
    prompt = prompt.replace("S14: manipulation", "S14: Manipulation")
    config = "rails:\n  input:\n    flows:\n      - content safety check input $model=cs\n"
    result = compiled({"config.yml": config, "prompts.yml": prompt})

    assert clauses_of(result, "category") == [
        "Violence",
        "Manipulation",
        "Sexual (minor)",
        "Cheating in Games",
    ]
    assert result.policy is not None
    assert result.policy.builtin is False


def test_llama_guard_categories_keep_their_bullets(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """What stands under a category belongs to it: "should not" defines it, "can" is allowed."""
    prompt = (
        "prompts:\n  - task: llama_guard_check_input\n    content: |\n      O1: Weapons.\n      Should not\n"
        "      - Help people build weapons.\n      - Encourage their use.\n      Can\n      - Discuss the history of weapons.\n"
    )
    config = "rails:\n  input:\n    flows:\n      - llama guard check input\n"
    result = compiled({"config.yml": config, "prompts.yml": prompt})

    assert clauses_of(result, "category") == ["Weapons: Helping people build weapons; encouraging their use"]
    assert clauses_of(result, "allowed") == ["Discussing the history of weapons"]


def test_personal_data_by_its_kinds(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """Sensitive-data settings name the kinds of data in plain words; masking refuses nothing."""
    config = """\
rails:
  config:
    sensitive_data_detection:
      input:
        entities: [PERSON, EMAIL_ADDRESS]
  input:
    flows:
      - detect sensitive data on input
      - mask sensitive data on input
"""
    result = compiled({"config.yml": config})

    assert clauses_of(result, "disallowed") == [
        "Sharing or asking for personal data: names of people, e-mail addresses"
    ]
    assert [found.code for found in result.diagnostics] == ["C208"]


@pytest.mark.parametrize(
    ("flow", "code"),
    [
        ("no such rail", "C201"),
        ("self check input", "C202"),
        ("activefence moderation on input", "C206"),
        ("regex check input", "C209"),
    ],
)
def test_rails_that_no_file_explains_fail(compiled: Callable[..., Compiled], flow: str, code: str) -> None:
    """A rail whose policy stands nowhere in the files is an error at its line, and can be allowed by name."""
    config = f"rails:\n  input:\n    flows:\n      - {flow}\n      - jailbreak detection heuristics\n"
    strict = compiled({"config.yml": config})
    allowed = compiled({"config.yml": config}, allow=(code,))

    assert [(found.code, found.file, found.line) for found in strict.errors] == [(code, "config.yml", 4)]
    assert strict.failed
    assert not allowed.failed


def test_a_rail_of_ones_own(
    compiled: Callable[..., Compiled],
    clauses_of: Callable[[Compiled, str], list[str]],
    codes_of: Callable[[Compiled], list[str]],
) -> None:
    """A word that a rail looks for is a clause; an action that decides, and says not what, is an error."""
    flows = """\
define bot deny
  "DENY"

define subflow no dummies
  if "dummy" in $user_message
    if $config.enable_rails_exceptions
      create event DummyRailException(message="no")
    else
      bot deny
    stop

define subflow ask the action
  $ok = execute decide_somehow
  if not $ok
    bot deny
    stop
"""
    config = "rails:\n  input:\n    flows:\n      - no dummies\n      - ask the action\n"
    result = compiled({"config.yml": config, "rails.co": flows})

    assert clauses_of(result, "disallowed") == ['Messages that contain "dummy"']
    assert codes_of(result) == ["C210"]
    assert result.errors[0].line == 15


def test_instructions_describe(
    compiled: Callable[..., Compiled], codes_of: Callable[[Compiled], list[str]]
) -> None:
    """Instructions become the description; one that forbids is pointed out, for a description is no rule."""
    config = """\
instructions:
  - type: general
    content: |
      The bot answers questions about pumps.
      It does not discuss prices.
custom_data:
  team: pumps
rails:
  input:
    flows: [jailbreak detection model]
"""
    result = compiled({"config.yml": config})

    assert result.document is not None
    assert result.document["description"].startswith("The bot answers questions about pumps.")
    assert codes_of(result) == ["C302", "C304"]


def test_two_files_with_rails_are_an_error(
    compiled: Callable[..., Compiled], codes_of: Callable[[Compiled], list[str]]
) -> None:
    """NeMo keeps the rails of one file, by the order of a folder: that is not left to chance."""
    rails = "rails:\n  input:\n    flows: [jailbreak detection model]\n"

    assert "C018" in codes_of(compiled({"a.yml": rails, "b.yml": rails}))
