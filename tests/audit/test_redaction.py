"""What redaction takes out, and what becomes of content where it cannot."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from railscribe.audit.redaction import Redaction, open_redactor, redacted
from railscribe.errors import MissingExtraError, SettingsError

needs_presidio = pytest.mark.skipif(
    find_spec("presidio_analyzer") is None, reason="Presidio is not installed"
)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the operator's, which can be imported."""
    made = ModuleType("operators_own")
    monkeypatch.setitem(sys.modules, "operators_own", made)
    return made


def test_a_callable_of_the_operators(module: ModuleType) -> None:
    """What module:function names is called with a text."""
    module.redact = lambda text: Redaction(text=text.replace("Anna", "<NAME>"), counts={"NAME": 1})  # type: ignore[attr-defined]

    found = redacted(open_redactor("operators_own:redact"), "Anna called")

    assert found == Redaction(text="<NAME> called", counts={"NAME": 1})


@pytest.mark.parametrize(
    "name", ["operators_own:none", "no_such_module:redact", "redact", ":", "operators_own:"]
)
def test_a_callable_that_is_none(module: ModuleType, name: str) -> None:
    """What names nothing that can be called is said at once, with the setting's name."""
    with pytest.raises(SettingsError, match="redactor"):
        open_redactor(name)


@pytest.mark.parametrize("answer", [None, 7, Redaction(text=None), Redaction(text="x", counts={"N": "many"})])  # type: ignore[arg-type,dict-item]
def test_a_redactor_that_fails_leaves_nothing(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a redactor raises or returns, content is never kept for lack of an answer, nor logged."""

    def fails(text: str) -> Redaction:
        if answer is None:
            raise RuntimeError(text)
        return answer  # type: ignore[return-value]

    assert redacted(fails, "Anna's secret") is None
    assert "secret" not in caplog.text


def test_presidio_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Presidio the command that installs it is named."""
    monkeypatch.setattr("railscribe.audit.redaction.find_spec", lambda _: None)

    with pytest.raises(MissingExtraError, match=r"pip install 'railscribe\[redact\]'"):
        open_redactor("presidio")


@needs_presidio
@pytest.mark.filterwarnings("ignore")
def test_presidio_without_its_language_model() -> None:
    """The model is not fetched and the process not ended: it is said what to install, and what goes without."""
    with pytest.raises(MissingExtraError, match=r"spacy download en_core_web_lg.*presidio-patterns"):
        open_redactor("presidio")


@needs_presidio
@pytest.mark.filterwarnings("ignore")
def test_presidio_with_patterns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and addresses are taken out and counted, with no language model and no network."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("asked the network"))
    text = "Anna: anna@example.com, 4111 1111 1111 1111, DE89370400440532013000"

    found = redacted(open_redactor("presidio-patterns"), text)

    assert found is not None
    assert found.text == "Anna: <EMAIL_ADDRESS>, <CREDIT_CARD>, <IBAN_CODE>"
    assert found.counts == {"CREDIT_CARD": 1, "EMAIL_ADDRESS": 1, "IBAN_CODE": 1}
