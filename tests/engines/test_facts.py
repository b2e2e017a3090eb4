"""What is told of engines without opening one."""

from __future__ import annotations

from typing import get_args

import pytest

from railscribe.engines import open_engine
from railscribe.engines.facts import FACTS, policy_tokens
from railscribe.settings import EngineName, Settings


@pytest.mark.parametrize("name", get_args(EngineName))
def test_an_engine_can_what_is_told_of_it(name: EngineName) -> None:
    """Every engine is among the facts, and scores categories exactly where they say so."""
    engine = open_engine(Settings(engine=name, model="m", base_url="http://127.0.0.1:9/v1"))

    assert engine.scores_categories is FACTS[name].scores_categories


def test_a_window_of_exchange_is_taken_from_a_policy_s_room() -> None:
    """In process; a server knows none."""
    whole = FACTS["embedded"].context_tokens

    assert policy_tokens(Settings(engine="embedded", context_tokens=1000)) == whole - 1000
    assert policy_tokens(Settings(engine="embedded", context_tokens=whole + 1)) == 0
    assert policy_tokens(Settings(engine="openai_compatible", context_tokens=1000)) == policy_tokens(
        Settings(engine="openai_compatible")
    )
