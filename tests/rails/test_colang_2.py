"""The rails in real NeMo Guardrails apps, Colang 2.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails import LLMRails
from tests.rails.configs import CONFIG_2 as CONFIG
from tests.rails.configs import MAIN_2 as MAIN
from tests.rails.configs import REFUSAL, outcomes

from railscribe import Identity, use_identity
from railscribe.errors import PolicyError
from railscribe.values import Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemoguardrails import RailsConfig
    from tests.rails.conftest import Host


def everything_unsafe(request: Request) -> str:
    sides = "User Safety: unsafe\n" + ("" if request.response is None else "Response Safety: unsafe\n")
    return sides + "Safety Categories: Violence"


def test_what_is_safe_passes_with_a_record_for_each_rail(host: Callable[..., Host]) -> None:
    """A harmless exchange is answered, judged once on its way in and once on its way out."""
    app = host(CONFIG, colang=MAIN)

    with use_identity(Identity(tenant="acme", request="r-1")):
        reply = app.ask("hello")

    assert reply["content"] == "fine"
    assert app.texts() == [("hello", None), ("hello", "fine")]
    assert outcomes(app) == [("input", "allow", None, "passed"), ("output", "allow", None, "passed")]
    assert [r["identity"]["request"] for r in app.records()] == ["r-1", "r-1"]


def test_an_unsafe_input_is_refused_before_the_model(host: Callable[..., Host]) -> None:
    """The refusal is the policy's, the main model is not asked, and the refusal is not judged."""
    app = host(CONFIG, colang=MAIN, script=everything_unsafe)

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert app.model.asked == []
    assert app.texts() == [("hello", None)]
    assert outcomes(app) == [("input", "block", None, "refused")]


def test_an_unsafe_output_is_refused(host: Callable[..., Host]) -> None:
    """The model's unsafe answer is replaced by the refusal, which is not judged."""
    app = host(CONFIG, colang=MAIN, says="forbidden answer")

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert app.texts() == [("hello", None), ("hello", "forbidden answer")]
    assert outcomes(app)[1] == ("output", "block", None, "refused")


async def test_a_refused_output_does_not_switch_off_the_rails(host: Callable[..., Host]) -> None:
    """NeMo leaves a flag up when an output rail aborts; the conversation's next answer is judged anyway."""
    app = host(CONFIG, colang=MAIN, says="forbidden answer")
    state: Any = {}
    scripts = []
    for text in ("hello", "again"):
        said = [{"type": "UtteranceUserActionFinished", "final_transcript": text}]
        events, state = await app.app.process_events_async(said, state, blocking=True)
        begun = [event for event in events if event["type"] == "StartUtteranceBotAction"]
        scripts += [event["script"] for event in begun]
        finished = [
            {
                "type": "UtteranceBotActionFinished",
                "action_uid": event["action_uid"],
                "final_script": event["script"],
                "is_success": True,
            }
            for event in begun
        ]
        events, state = await app.app.process_events_async(finished, state, blocking=True)

    assert scripts == [REFUSAL, REFUSAL]
    assert app.texts() == [
        ("hello", None),
        ("hello", "forbidden answer"),
        ("again", None),
        ("again", "forbidden answer"),
    ]


def test_undecided_follows_each_rails_switch(host: Callable[..., Host]) -> None:
    """Undecided refuses unless the rail's switch lets it through."""
    switched = CONFIG + "custom_data: {railscribe: {input: {on_undecided: allow}}}\n"

    blocked = host(CONFIG, colang=MAIN).ask("garbled")
    app = host(switched, colang=MAIN)
    refused_later = app.ask("garbled")

    assert (blocked["content"], refused_later["content"]) == (REFUSAL, REFUSAL)
    assert outcomes(app)[-2:] == [
        ("input", "undecided", "stray_text", "passed"),
        ("output", "undecided", "stray_text", "refused"),
    ]


def test_a_picture_reaches_the_engine(host: Callable[..., Host], picture: dict[str, Any]) -> None:
    """Image parts of a message are judged by both rails. (NeMo's passthrough action cannot take them.)"""
    fixed = MAIN.replace(
        "$answer = await PassthroughLLMAction(user_message=$said.transcript)", '$answer = "fine"'
    )
    app = host(CONFIG, colang=fixed)

    reply = app.ask([{"type": "text", "text": "what is this?"}, picture])

    assert reply["content"] == "fine"
    assert app.texts() == [("what is this?", None), ("what is this?", "fine")]
    assert all(request.image for request in app.engine.requests)


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "bad_image"),
        ({"type": "input_audio", "input_audio": {}}, "modality"),
    ],
)
def test_a_part_that_cannot_be_judged_refuses(host: Callable[..., Host], part: Any, cause: str) -> None:
    """Broken pictures and unknown parts refuse with a record."""
    app = host(CONFIG, colang=MAIN)

    reply = app.ask([{"type": "text", "text": "look"}, part])

    assert reply["content"] == REFUSAL
    assert outcomes(app) == [("input", "undecided", cause, "refused")]


def test_rails_exceptions_are_honoured(host: Callable[..., Host]) -> None:
    """With enable_rails_exceptions a refusal is an event that names the record, and nothing is said."""
    app = host(CONFIG + "enable_rails_exceptions: true\n", colang=MAIN, says="forbidden answer")

    replies = [app.ask("forbidden"), app.ask("hello")]

    ids = [r["id"] for r in app.records() if r["enforcement"] == "refused"]
    events = [
        event for reply in replies for event in reply["events"] if event["type"].startswith("Railscribe")
    ]
    assert [reply["content"] for reply in replies] == ["", ""]
    assert [event["type"] for event in events] == [
        "RailscribeInputRailException",
        "RailscribeOutputRailException",
    ]
    assert [event["record_id"] for event in events] == ids
    assert events[0]["message"] == "The input was refused under the policy default (block: Violence)."


def test_a_flow_parameter_chooses_the_policy(host: Callable[..., Host]) -> None:
    """The policy named in one rail is that rail's alone."""
    main = MAIN.replace("railscribe check input\n", 'railscribe check input $policy="dev-tools-assistant"\n')
    app = host(CONFIG, colang=main)

    app.ask("hello")

    assert [r["policy"]["name"] for r in app.records()] == ["dev-tools-assistant", "default"]


def test_an_unknown_policy_shows_when_the_app_is_built(host: Callable[..., Host]) -> None:
    """A policy that the configuration's Colang names in quotes is looked up at construction."""
    main = MAIN.replace("railscribe check input\n", 'railscribe check input $policy="dev-tools"\n')

    with pytest.raises(RuntimeError) as caught:
        host(CONFIG, colang=main)

    assert isinstance(caught.value.__cause__, PolicyError)
    assert "dev-tools-assistant" in str(caught.value.__cause__)


def test_two_user_messages_in_a_row_are_judged_together(host: Callable[..., Host]) -> None:
    """The passthrough model reads all messages, so the rail does too."""
    app = host(CONFIG, colang=MAIN)

    reply = app.app.generate(
        messages=[{"role": "user", "content": "forbidden"}, {"role": "user", "content": "thanks"}]
    )

    assert REFUSAL in reply["content"]
    assert "fine" not in reply["content"]


def test_a_path_cannot_be_imported_in_colang(
    tmp_path: Path, load_config: Callable[[Path], RailsConfig]
) -> None:
    """NeMo keeps the quotes of a quoted import, which is why editable installs need import_paths in YAML."""
    from railscribe.rails import rails_path

    (tmp_path / "config.yml").write_text('colang_version: "2.x"\nmodels: []\n')
    (tmp_path / "main.co").write_text(f'import core\nimport "{rails_path()}"\n\nflow main\n  match Never()\n')

    with pytest.raises(ValueError, match="could not be resolved"):
        LLMRails(load_config(tmp_path))
