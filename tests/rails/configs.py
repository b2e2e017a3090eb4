"""Configurations with our rails, in both versions of Colang, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.rails.conftest import Host

REFUSAL = "I'm sorry, I can't help with that."
BOTH = """
    import_paths: ["{rails}"]
    models: []
    passthrough: true
    rails:
      input: {flows: [railscribe check input]}
      output: {flows: [railscribe check output]}
"""
CONFIG_2 = 'colang_version: "2.x"\nimport_paths: ["{rails}"]\nmodels: []\n'
MAIN_2 = """\
import core
import guardrails

flow input rails $input_text
  railscribe check input

flow output rails $output_text
  railscribe check output

flow answer
  user said something as $said
  $answer = await PassthroughLLMAction(user_message=$said.transcript)
  bot say $answer

flow main
  activate answer
"""


def outcomes(host: Host) -> list[tuple[str, str, str | None, str]]:
    """Return direction, outcome, cause and enforcement of each record."""
    return [
        (r["direction"], r["decision"]["outcome"], r["decision"]["cause"], r["enforcement"])
        for r in host.records()
    ]
