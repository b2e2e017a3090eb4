"""`railscribe init --template`: each ready policy as a configuration of its own, run by NeMo Guardrails itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from railscribe import Identity, use_identity
from railscribe.errors import UsageError
from railscribe.policy import Policy, load_policy, ready_policies
from railscribe.policy.load import load_cases, ready_cases
from railscribe.rails import write_config
from railscribe.values import Action, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

VERSIONS = ("1.0", "2.x")


def category(policy: Policy, action: Action, *, with_refusals: bool = False) -> str | None:
    """Return the first category of that action, with words of its own or without."""
    fitting = (c for c in policy.categories if c.action is action and bool(c.refusals) is with_refusals)
    return next((one.name for one in fitting), None)


def judge(policy: Policy) -> Callable[[Request], str]:
    """Find unsafe what names one of three words, in a category of *policy* that does what the word says."""
    names = {
        "blocks": category(policy, Action.BLOCK),
        "consoles": category(policy, Action.BLOCK, with_refusals=True),
        "flags": category(policy, Action.FLAG),
    }

    def script(request: Request) -> str:
        texts = {"User": request.user, "Response": request.response}
        found = {
            side: next((name for word, name in names.items() if word in text), None)
            for side, text in texts.items()
            if text is not None
        }
        lines = [f"{side} Safety: {'unsafe' if name else 'safe'}" for side, name in found.items()]
        named = [name for name in found.values() if name]
        return "\n".join([*lines, f"Safety Categories: {named[-1]}"] if named else lines)

    return script


@pytest.fixture(params=VERSIONS)
def colang(request: pytest.FixtureRequest) -> str:
    """Both versions of Colang."""
    return str(request.param)


@pytest.fixture(params=sorted(ready_cases()))
def policy(request: pytest.FixtureRequest) -> Policy:
    """Each ready policy that a team starts from."""
    return load_policy(request.param)


@pytest.fixture
def project(host: Callable[..., Host], policy: Policy, colang: str, tmp_path: Path) -> Callable[[str], Host]:
    """Build the app of the written project, its main model saying one thing."""
    paths = write_config(tmp_path / "project", colang, policy.name)
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    config = texts.pop("config.yml")
    return lambda says: host(config, files=texts, says=says, script=judge(policy))


def test_a_template_runs(project: Callable[[str], Host], policy: Policy) -> None:
    """What is safe passes; what is not is refused on both sides with the policy's words, in the user's language."""
    app = project("fine")
    replies = []
    for text, language in (("hello", "en"), ("this blocks", "en"), ("this blocks", "th")):
        with use_identity(Identity(language=language)):
            replies.append(app.ask(text)["content"])
    with use_identity(Identity(language="pt")):
        answered = project("an answer that blocks").ask("hello")["content"]

    told = dict(policy.refusals)
    assert replies == ["fine", told["en"], told["th"]]
    assert answered == told["pt"]
    records = app.records()
    assert {r["policy"]["name"] for r in records} == {policy.name}
    assert {r["policy"]["digest"] for r in records} == {policy.digest}
    assert [r["decision"]["outcome"] for r in records] == [
        "allow",
        "allow",
        "block",
        "block",
        "allow",
        "block",
    ]


def test_a_template_flags_and_consoles(project: Callable[[str], Host], policy: Policy) -> None:
    """What the policy flags is answered and queued; a category with words of its own says them."""
    consoling, flagging = category(policy, Action.BLOCK, with_refusals=True), category(policy, Action.FLAG)
    app = project("fine")

    with use_identity(Identity(language="ja")):
        replies = [app.ask("this consoles")["content"], app.ask("this flags")["content"]]

    known = policy.category(consoling or "")
    assert replies[0] == (dict(known.refusals)["ja"] if known else "fine")
    assert replies[1] == "fine"
    assert app.records()[-2]["decision"]["outcome"] == ("flag" if flagging else "allow")


def test_the_host_reads_no_policy_as_configuration(project: Callable[[str], Host]) -> None:
    """NeMo would mix the policy's fields, and those of its cases, into the configuration's own data."""
    assert set(project("fine").app.config.custom_data) == {"railscribe"}


def test_the_cases_of_a_template_test_its_policy(policy: Policy, tmp_path: Path) -> None:
    """The copied cases are about the copied policy, so that changing it is seen."""
    write_config(tmp_path, template=policy.name)
    copied = tmp_path / f"{policy.name}.yaml"
    text = copied.read_text(encoding="utf-8")
    copied.write_text(text.replace("description: ", "description: Ours. ", 1), encoding="utf-8")

    suite = load_cases(str(tmp_path / f"{policy.name}.cases.yaml"))

    assert suite.policy.description == f"Ours. {policy.description}"
    assert len(suite.cases) == len(load_cases(policy.name).cases)


@pytest.mark.parametrize("colang", VERSIONS)
def test_without_a_template_the_default_is_named(colang: str, tmp_path: Path) -> None:
    """A configuration without a template names the policy that ships, and no file lies beside it."""
    names = {path.name for path in write_config(tmp_path, colang)}

    assert names == {"config.yml"} | ({"main.co"} if colang == "2.x" else set())
    assert "policy: default #" in (tmp_path / "config.yml").read_text(encoding="utf-8")


def test_an_unknown_template_is_a_mistake(tmp_path: Path) -> None:
    """The nearest are named, and nothing is written."""
    with pytest.raises(UsageError) as caught:
        write_config(tmp_path / "new", template="retail-bank")

    assert "retail-banking" in (caught.value.hint or "")
    assert not (tmp_path / "new").exists()


def test_a_policy_in_the_way_stays(tmp_path: Path) -> None:
    """A policy that somebody wrote there is not overwritten, and no other file is written."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "retail-banking.yaml").write_text("mine")

    with pytest.raises(UsageError, match="exists already"):
        write_config(folder, template="retail-banking")

    assert [path.name for path in folder.iterdir()] == ["retail-banking.yaml"]
    assert (folder / "retail-banking.yaml").read_text() == "mine"


def test_every_ready_policy_can_be_a_template(tmp_path: Path) -> None:
    """One that has no cases is copied alone."""
    for name in ready_policies():
        written = {path.name for path in write_config(tmp_path / name, template=name)}

        assert {"config.yml", f"{name}.yaml", ".railsignore", "policy.schema.json"} <= written
        assert (f"{name}.cases.yaml" in written) is (name in ready_cases())
        assert load_policy(str(tmp_path / name / f"{name}.yaml")) == load_policy(name)
