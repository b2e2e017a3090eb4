"""What is wrong with a configuration shows when the app is built, in a sentence."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails import LLMRails

from railscribe.errors import PolicyError, RailscribeError, SchemaRevisionError, SettingsError
from railscribe.rails import rails_path
from railscribe.rails.configuration import Configuration
from railscribe.values import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemoguardrails import RailsConfig
    from tests.rails.conftest import Host

CONFIG = """
import_paths: ["{rails}"]
models: []
passthrough: true
rails:
  input: {flows: [FLOW]}
custom_data: {railscribe: SETTINGS}
"""


@pytest.fixture
def mistake(tmp_path: Path, load_config: Callable[[Path], RailsConfig]) -> Callable[..., RailscribeError]:
    """Build an app and return what NeMo gives as the reason why it cannot be built."""

    def build(*, flow: str = "railscribe check input", settings: str = "{}") -> RailscribeError:
        folder = tmp_path / "config"
        folder.mkdir()
        text = (
            CONFIG.replace("{rails}", rails_path()).replace("FLOW", f'"{flow}"').replace("SETTINGS", settings)
        )
        (folder / "config.yml").write_text(text)
        with pytest.raises(RuntimeError, match="Failed to initialize configuration module") as caught:
            LLMRails(load_config(folder))
        reason = caught.value.__cause__
        assert isinstance(reason, RailscribeError)
        return reason

    return build


def test_a_missing_database_names_the_command(
    mistake: Callable[..., RailscribeError], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sentence says which database is missing and how to make it; nothing is made by itself."""
    monkeypatch.setenv("RAILSCRIBE_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")

    reason = mistake()

    assert isinstance(reason, SchemaRevisionError)
    assert "railscribe db upgrade" in str(reason)
    assert not (tmp_path / "none.db").exists()


def test_an_empty_database_names_the_command(
    mistake: Callable[..., RailscribeError], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A database without our tables is not upgraded behind the operator's back."""
    sqlite3.connect(tmp_path / "empty.db").close()
    monkeypatch.setenv("RAILSCRIBE_DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")

    reason = mistake()

    assert "railscribe db upgrade" in str(reason)


@pytest.mark.parametrize("written", ["$policy=dev-tool", "(policy=dev-tool)"])
def test_an_unknown_policy_names_the_nearest(mistake: Callable[..., RailscribeError], written: str) -> None:
    """A policy that a flow names is looked up when the app is built."""
    reason = mistake(flow=f"railscribe check input {written}")

    assert isinstance(reason, PolicyError)
    assert "'dev-tool'" in str(reason)
    assert "dev-tools-assistant" in str(reason)


def test_an_unknown_default_policy_names_the_nearest(mistake: Callable[..., RailscribeError]) -> None:
    """The policy of custom_data is looked up as well."""
    assert "dev-tools-assistant" in str(mistake(settings="{policy: dev-tools}"))


def test_a_parameter_that_no_rail_takes_is_a_mistake(mistake: Callable[..., RailscribeError]) -> None:
    """A misspelt parameter would silently leave the default policy in force."""
    reason = mistake(flow="railscribe check input $polcy=default")

    assert "takes one parameter" in str(reason)
    assert "$policy=NAME" in str(reason)


@pytest.mark.parametrize(
    ("where", "flow"),
    [
        ("tool_output", "railscribe check tool outptu"),
        ("tool_input", "railscribe check tool output"),
        ("retrieval", "railscribe check input"),
        ("output", "railscribe check input $policy=default"),
    ],
)
def test_a_rail_that_is_misspelt_or_misplaced_is_a_mistake(
    tmp_path: Path, load_config: Callable[[Path], RailsConfig], where: str, flow: str
) -> None:
    """NeMo does not ask whether rails of tools exist, and nothing would be judged."""
    text = CONFIG.replace("input: {flows: [FLOW]}", f'{where}: {{flows: ["{flow}"]}}')
    (tmp_path / "config.yml").write_text(text.replace("{rails}", rails_path()).replace("SETTINGS", "{}"))

    with pytest.raises(RuntimeError) as caught:
        LLMRails(load_config(tmp_path))

    assert isinstance(caught.value.__cause__, SettingsError)
    assert f"under rails: {where}" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("{polcy: default}", "polcy"),
        ("{input: {on_undecided: maybe}}", "input.on_undecided"),
        ("{output: {undecided: allow}}", "output.undecided"),
        ("{input: allow}", "input"),
        ("[default]", "custom_data: railscribe"),
        ("{engine: gpt}", "engine"),
    ],
)
def test_a_misspelt_setting_is_named(
    mistake: Callable[..., RailscribeError], settings: str, named: str
) -> None:
    """Settings that do not exist are refused by name, for a typo must not weaken a rail."""
    reason = mistake(settings=settings)

    assert isinstance(reason, SettingsError)
    assert named in str(reason)


def test_a_policy_file_lies_beside_the_configuration(host: Callable[..., Host]) -> None:
    """Relative paths mean the configuration's directory, for the default as for a flow's policy."""
    house = '{"name": "NAME", "version": "1", "description": "A house.", "disallowed": ["Shouting."]}'
    app = host(
        CONFIG.replace("FLOW", '"railscribe check input $policy=flow.json"').replace(
            "SETTINGS", "{policy: house.json}"
        )
        + "enable_rails_exceptions: false\n",
        files={"house.json": house.replace("NAME", "house"), "flow.json": house.replace("NAME", "flow")},
    )

    app.ask("hello")

    assert [r["policy"]["name"] for r in app.records()] == ["flow"]


def test_an_unknown_policy_at_run_time_refuses_with_a_record(
    host: Callable[..., Host], caplog: pytest.LogCaptureFixture
) -> None:
    """A policy that comes from a context variable is not known before; then the rail fails closed."""
    app = host(
        CONFIG.replace("FLOW", "railscribe check input")
        .replace("SETTINGS", "{on_undecided: allow}")
        .replace("passthrough: true", "")
    )
    messages: list[dict[str, Any]] = [
        {"role": "context", "content": {"policy": "default-policy"}},
        {"role": "user", "content": "hello"},
    ]

    reply = app.app.generate(messages=messages)

    (record,) = app.records()
    assert reply["content"] == "I'm sorry, I can't help with that."
    assert (record["decision"]["outcome"], record["decision"]["cause"]) == ("undecided", "not_run")
    assert (record["enforcement"], record["policy"]["name"]) == ("refused", "default")
    assert "There is no policy called 'default-policy'." in caplog.text
    assert app.engine.requests == []


@pytest.mark.parametrize(
    ("streaming", "warned"),
    [("{enabled: true}", True), ("{enabled: true, stream_first: false}", False), ("{enabled: false}", False)],
)
def test_a_stream_shown_before_it_is_checked_is_named(
    host: Callable[..., Host], caplog: pytest.LogCaptureFixture, streaming: str, *, warned: bool
) -> None:
    """NeMo's default for streams shows text first; building such an app warns."""
    output = f"rails:\n  output: {{flows: [railscribe check output], streaming: {streaming}}}\n"

    host(CONFIG.replace("rails:\n  input: {flows: [FLOW]}\n", output).replace("SETTINGS", "{}"))

    assert ("shows streamed text before it is checked" in caplog.text) is warned


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"applies_to": ["output"]}, "The policy half does not apply to input"),
        ({"categories": [{"name": "Tickets", "threshold": 0.5}]}, "gives them no scores"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_policy_that_does_not_fit_is_a_mistake(
    mistake: Callable[..., RailscribeError],
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
    named: bool,
) -> None:
    """A rail that could only ever refuse shows where the app is built, whether it names its policy or not."""
    document = {"name": "half", "version": "1", "description": "d"} | changes
    (tmp_path / "half.json").write_text(json.dumps(document))
    path = tmp_path / "half.json"

    if named and "categories" not in changes:
        reason = mistake(flow=f"railscribe check input $policy={path}")
    else:
        reason = mistake(settings=f"{{policy: {path}}}")

    assert isinstance(reason, PolicyError)
    assert message in str(reason)


def test_2x_rails_are_read_from_the_flows(tmp_path: Path, load_config: Callable[[Path], RailsConfig]) -> None:
    """Each awaited rail with its direction, and its policy where it names one."""
    (tmp_path / "config.yml").write_text(
        f"colang_version: 2.x\nimport_paths: ['{rails_path()}']\nmodels: []\n"
    )
    (tmp_path / "main.co").write_text(
        "import core\nimport guardrails\n\n"
        "flow input rails $input_text\n  railscribe check input\n\n"
        'flow output rails $output_text\n  await railscribe check output $policy="default"\n'
    )

    configuration = Configuration.of(load_config(tmp_path))

    assert sorted(configuration.rails, key=str) == [(Direction.INPUT, None), (Direction.OUTPUT, "default")]


@pytest.mark.parametrize("tools", [False, True])
def test_an_app_without_tools_tries_no_flow_for_them(host: Callable[..., Host], *, tools: bool) -> None:
    """NeMo tries such a flow at every event, so it is there only where a tool input rail is."""
    config = CONFIG.replace("FLOW", "railscribe check input").replace("SETTINGS", "{}")
    if tools:
        config = config.replace("rails:\n", "rails:\n  tool_input: {flows: [railscribe check tool input]}\n")

    app = host(config)

    assert ("railscribe answer after tool input" in app.app.runtime.flow_configs) is tools
