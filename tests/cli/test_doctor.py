"""``railscribe doctor`` against servers as they are met in the field."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from railscribe.probing import RUDE, drawn
from railscribe.settings import Settings

if TYPE_CHECKING:
    from tests.conftest import Answer, Loopback

Run = Callable[..., Any]
Body = dict[str, Any]
PROBES = ["policy", "taxonomy", "categories", "thinking", "response", "image", "logprobs"]
THREAT = base64.b64encode(drawn("I WILL KILL\nALL OF YOU", Settings()).data or b"").decode()

POLICY = """
name: no-wet-weather
version: "1"
description: An assistant that never talks about wet weather.
categories: [{name: Wet Weather, definition: any mention of rain}]
"""


class Model:
    """A model behind the loopback server: all it knows is what is in the body."""

    def __init__(
        self, answer: type[Answer], chat: Callable[..., Body], *, drops: tuple[str, ...] = ()
    ) -> None:
        self._answer, self._chat, self._drops = answer, chat, drops
        self.refuses: Callable[[Body], str | None] = lambda _: None

    def __call__(self, body: Body) -> Answer:
        refusal = self.refuses(body)
        if refusal:
            return self._answer({"error": {"message": refusal}}, status=400)
        body = {name: value for name, value in body.items() if name not in self._drops}
        text, tokens = self._judged(body.get("chat_template_kwargs", {}), str(body["messages"]))
        label = {"token": " safe", "logprob": -0.1, "top_logprobs": [{"token": " unsafe", "logprob": -2.3}]}
        words: list[Body] = [
            {"token": word, "logprob": 0.0, "top_logprobs": []} for word in ("User", " Safety", ":")
        ]
        return self._answer(
            self._chat(
                text,
                choice={"logprobs": {"content": [*words, label]} if "logprobs" in body else None},
                usage={"prompt_tokens": tokens, "completion_tokens": 9, "total_tokens": tokens + 9},
            )
        )

    def _judged(self, kwargs: Body, messages: str) -> tuple[str, int]:
        policy = kwargs.get("custom_policy") or kwargs.get("custom_taxonomy") or ""
        name = policy.rpartition("\n- Sexual")[0].rpartition("- ")[2].partition(":")[0].partition(" (")[0]
        harmful = ("rain" in messages) if policy else ("bomb" in messages or THREAT in messages)
        pair = RUDE in messages
        lines = [f"User Safety: {'unsafe' if harmful else 'safe'}"] + ["Response Safety: unsafe"] * pair
        if kwargs.get("request_categories") == "/categories" and (harmful or pair):
            lines.append(f"Safety Categories: {name or 'Violence'}")
        trace = "<think>It is plain.</think>" if kwargs.get("enable_thinking") else ""
        return trace + "\n".join(lines), len(policy + messages)


@pytest.fixture
def doctor(railscribe: Run, loopback: Loopback, tmp_path: Path) -> Run:
    """Runs the doctor on the loopback server, with a database and a policy of one category."""
    railscribe("db", "upgrade")
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")

    def run(*flags: str) -> Any:
        server = ("--base-url", loopback.base_url, "--model", loopback.model)
        return railscribe("doctor", *server, "--policy", "policy.yaml", *flags)

    return run


def results(ran: Any) -> dict[str, str]:
    return {probe["probe"]: probe["result"] for probe in ran.json()["probes"]}


def test_a_server_that_honours_all_is_well(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any, tmp_path: Path
) -> None:
    """Every probe is honoured, the exit code is 0, and the results are kept with engine and address."""
    loopback.judge = Model(answer, chat)

    ran = doctor("--json")

    assert (ran.code, ran.json()["ok"], ran.json()["stored"]) == (0, True, True), ran
    assert results(ran) == dict.fromkeys(PROBES, "honoured")
    assert all(probe["change"] is None for probe in ran.json()["probes"])
    with sqlite3.connect(tmp_path / "railscribe.db") as database:
        kept = database.execute(
            "SELECT probe, result, address, backend FROM engine_probes JOIN engines ON digest = engine_digest"
        ).fetchall()
    assert sorted(kept) == sorted((name, "honoured", loopback.base_url, "vllm") for name in PROBES)


def test_a_policy_that_does_not_fit_the_engine_is_told(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any, tmp_path: Path
) -> None:
    """One of a tenant as well: with thresholds where there are no scores, or of a mode that was found ignored."""
    loopback.judge = Model(answer, chat, drops=("chat_template_kwargs",))
    by_score = POLICY.replace("no-wet-weather", "by-score").replace(
        "any mention of rain", "rain, threshold: 0.4"
    )
    (tmp_path / "by-score.yaml").write_text(by_score, encoding="utf-8")
    (tmp_path / "railscribe.toml").write_text(
        'policy_by_tenant = {acme = "by-score.yaml"}\n', encoding="utf-8"
    )

    def unfit(*flags: str) -> tuple[int, str]:
        ran = doctor("--json", *flags)
        return ran.code, next((each["said"] for each in ran.json()["findings"] if each["part"] == "fit"), "")

    code, said = unfit()
    assert code == 1
    assert "The policy by-score has thresholds on categories (Wet Weather)" in said
    assert "ignore" not in said  # the probes of this run say that
    (tmp_path / "railscribe.toml").unlink()
    code, said = unfit("--no-probe")
    assert code == 1
    assert said.startswith(
        "The policy no-wet-weather travels as mode taxonomy, which this engine was found to ignore"
    )
    loopback.judge = Model(answer, chat)
    assert unfit() == (0, "")
    assert unfit("--no-probe") == (0, "")


def test_a_tenant_s_policy_needs_its_mode(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any, tmp_path: Path
) -> None:
    """What only a tenant's policy needs fails the doctor where it is ignored."""
    loopback.judge = Model(answer, chat, drops=("chat_template_kwargs",))
    clauses = (
        POLICY.partition("categories")[0].replace("no-wet-weather", "clauses")
        + "disallowed: [Talk of rain]\n"
    )
    (tmp_path / "clauses.yaml").write_text(clauses, encoding="utf-8")
    (tmp_path / "railscribe.toml").write_text(
        'policy_by_tenant = {acme = "clauses.yaml"}\n', encoding="utf-8"
    )

    assert "FAIL  policy      ignored" in doctor().out


def test_dropped_arguments_are_a_failure_that_guards_heed(
    doctor: Run, railscribe: Run, loopback: Loopback, answer: type[Answer], chat: Any
) -> None:
    """A gateway without the arguments fails the doctor, which says what to change; a check is then undecided."""
    loopback.judge = Model(answer, chat, drops=("chat_template_kwargs",))

    ran = doctor()

    assert ran.code == 1
    assert "FAIL  taxonomy    ignored" in ran.out
    assert "note  policy      ignored" in ran.out  # the policy in use travels as a taxonomy
    assert "note  thinking    ignored" in ran.out  # nobody asked for it
    assert "chat_template_kwargs" in ran.out
    server = ("--base-url", loopback.base_url, "--model", loopback.model)
    asked = len(loopback.bodies)
    check = railscribe("check", "Will it rain?", *server, "--policy", "policy.yaml", "--json")
    assert (check.code, check.json()["cause"]) == (12, "policy_ignored")
    assert len(loopback.bodies) == asked
    assert railscribe("check", "Will it rain?", *server).code == 0  # under the built-in categories
    allowed = railscribe(
        *("check", "Will it rain?", *server, "--policy", "policy.yaml"),
        RAILSCRIBE_ALLOW_IGNORED_POLICY="true",
    )
    assert allowed.code == 0


def test_thinking_that_is_wanted_and_ignored_is_a_failure(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any
) -> None:
    """What is needed goes by the settings: with --think the missing trace counts."""
    model = Model(answer, chat)

    def hosted(body: Body) -> Answer:
        body["chat_template_kwargs"].pop("enable_thinking")
        return model(body)

    loopback.judge = hosted

    codes = [doctor(flag).code for flag in ("--no-think", "--think")]

    assert codes == [0, 1]


def test_refusals_are_reported_as_such(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any
) -> None:
    """A server without eyes or policies refuses; what is needed of that fails, a refused picture alone does not."""
    model = loopback.judge = Model(answer, chat)
    model.refuses = lambda body: "base is not a multimodal model" if "image_url" in str(body) else None
    blind = doctor("--json")
    model.refuses = lambda body: "not allowed" if "custom" in str(body) else None
    strict = doctor("--json")

    assert (blind.code, results(blind)["image"]) == (0, "refused")
    assert (strict.code, strict.json()["findings"][-1]["ok"]) == (1, False)
    assert "probes" not in strict.json()  # it does not even answer under the policy in use


def test_a_server_that_refuses_a_response_is_worked_around(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any, tmp_path: Path
) -> None:
    """SGLang's refusal costs a repetition; the results are kept for the engine as it is from then on, too."""
    model = loopback.judge = Model(answer, chat)
    model.refuses = lambda body: (
        "Conversation roles must alternate user/assistant/user/assistant/..."
        if body["messages"][-1]["role"] == "assistant"
        else None
    )

    ran = doctor("--json")

    assert (ran.code, results(ran)["response"]) == (0, "honoured")
    with sqlite3.connect(tmp_path / "railscribe.db") as database:
        backends = database.execute(
            "SELECT backend FROM engine_probes JOIN engines ON digest = engine_digest WHERE probe = 'policy'"
        ).fetchall()
    assert sorted(backends) == [("vllm",), ("vllm, response folded",)]


def test_probes_can_be_left_out(doctor: Run, loopback: Loopback) -> None:
    """With --no-probe the doctor reports what it always did, and asks the engine once."""
    ran = doctor("--no-probe", "--json")

    assert set(ran.json()) == {"ok", "findings"}
    assert len(loopback.bodies) == 1


def test_a_reply_without_an_end_has_its_own_hint(
    doctor: Run, loopback: Loopback, answer: type[Answer], chat: Any
) -> None:
    """A server that does not know the model's end of a turn is told apart from a model of another kind."""
    loopback.judge = lambda _: answer(chat("User Safety: safe\n" * 30, choice={"finish_reason": "length"}))

    ran = doctor()

    assert ran.code == 1
    assert "--generation-config" in ran.out
