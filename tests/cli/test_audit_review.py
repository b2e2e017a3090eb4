"""``railscribe audit review`` on the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore
from railscribe.audit.schema import upgrade
from railscribe.policy import load_policy, render
from railscribe.values import (
    Decision,
    Direction,
    Enforcement,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Label,
    Outcome,
    Record,
    Review,
    Side,
    SideVerdict,
    Verdict,
)

Run = Callable[..., Any]
"""The fixture ``railscribe``: runs the command line and returns its code, out and err."""
FIRST, SECOND = "019ced4f-0000-7000-8000-000000000001", "019ced50-0000-7000-8000-000000000002"


@pytest.fixture
def waiting(tmp_path: Path) -> str:
    """The URL of a database in which two records wait: one that was flagged, one in the review band."""
    url = f"sqlite:///{tmp_path / 'railscribe.db'}"
    upgrade(url)
    with AuditStore.open(url) as store:
        store.append(_record(FIRST, Outcome.FLAG, "acme"))
        store.append(_record(SECOND, Outcome.ALLOW, "globex", reviews=(Review.SCORE_IN_BAND,)))
    return url


def _record(record_id: str, outcome: Outcome, tenant: str, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "id": record_id,
        "checked_at": datetime(2026, 3, 14, 9, 26, int(record_id[-1]), tzinfo=timezone.utc),
        "identity": Identity(tenant=tenant, subject="user-42"),
        "direction": Direction.INPUT,
        "rail": "guard",
        "host": "python",
        "exchange": Exchange(user="Where do I buy\n\x1b[31ma knife?"),
        "rendering": render(load_policy("default"), thinking=True),
        "engine": EngineInfo(name="scripted", model="guard"),
        "flags": Flags(thinking=True),
        "neutralised": (),
        "completion": None,
        "verdict": Verdict(user=SideVerdict(label=Label.UNSAFE, score=0.6), trace="It asks for a knife."),
        "decision": Decision(outcome=outcome, sides=(Side.USER,), rule="category 'Violence' flags"),
        "enforcement": Enforcement.PASSED,
        "image": None,
        "latency_ms": {},
    }
    return Record(**{**fields, **changes})


def test_the_queue_and_a_review(railscribe: Run, waiting: str) -> None:
    """What waits is listed with rule and trace; a review closes it, and `audit show` tells of it."""
    listed = railscribe("audit", "review")
    kept = railscribe(
        *(
            "audit",
            "review",
            FIRST[:8],
            "--decision",
            "uphold",
            "--reason",
            "As the policy says.",
            "--by",
            "carol",
        )
    )
    after = railscribe("audit", "review", "--json").json()
    shown = railscribe("audit", "show", FIRST[:8])

    assert listed.out.index(FIRST) < listed.out.index(SECOND)
    for said in (
        "waits for  flagged",
        "waits for  score_in_band",
        "category 'Violence' flags",
        "It asks for a knife.",
    ):
        assert said in listed.out
    assert "\x1b" not in listed.out
    assert (kept.code, kept.out.startswith(f"{FIRST}  review 1: uphold by carol at ")) == (0, True)
    assert [item["id"] for item in after] == [SECOND]
    assert "review 1: uphold by carol at " in shown.out
    assert "As the policy says." in shown.out


def test_the_login_name_reviews_unless_told(railscribe: Run, waiting: str) -> None:
    """Without --by it is the user of this machine; an empty name is none."""
    decide = ("audit", "review", FIRST, "--decision", "escalate", "--reason", "Unclear.")

    kept = railscribe(*decide, "--json", LOGNAME="dave")
    empty = railscribe(*decide, "--by", "  ")

    assert (kept.json()["reviewed_by"], kept.json()["answers"]) == ("dave", None)
    assert (empty.code, "Say who: --by NAME" in empty.err) == (2, True)
    (item,) = railscribe("audit", "review", "--reason", "flagged", "--json").json()
    assert item["state"] == "escalated"


def test_the_subject_is_refused(railscribe: Run, waiting: str) -> None:
    """Whoever a record is about does not review it."""
    ran = railscribe(
        *(
            "audit",
            "review",
            FIRST,
            "--decision",
            "overturn",
            "--reason",
            "I meant no harm.",
            "--by",
            " USER-42",
        )
    )

    assert (ran.code, ran.out) == (2, "")
    assert "The reviewer is the person whom the record is about." in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param((FIRST,), "A review is a decision with a reason", id="an id alone"),
        pytest.param((FIRST, "--decision", "uphold"), "A review is a decision with a reason", id="no reason"),
        pytest.param(
            ("--decision", "uphold", "--reason", "Fine."), "A decision is about a record", id="no id"
        ),
        pytest.param(("--reason", "because"), "Reasons are flagged", id="no such reason"),
        pytest.param(("--interactive",), "asks on a terminal", id="no terminal"),
    ],
)
def test_half_a_review_is_none(railscribe: Run, waiting: str, arguments: tuple[str, ...], said: str) -> None:
    """What is left out is asked for by name, and nothing is decided."""
    ran = railscribe("audit", "review", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_filters(railscribe: Run, waiting: str) -> None:
    """The queue is narrowed by tenant, policy and limit."""

    def ids(*arguments: str) -> list[str]:
        return [item["id"] for item in railscribe("audit", "review", "--json", *arguments).json()]

    assert ids("--tenant", "globex") == [SECOND]
    assert ids("--policy", "default", "--limit", "1") == [FIRST]
    assert ids("--policy", "none-such") == []
    assert railscribe("audit", "review", "--policy", "none-such").out.startswith(
        "Nothing waits for a review. "
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_asked_one_after_the_other(waiting: str) -> None:
    """On a terminal, where it was asked for, each record is shown and the answer appended; others may be skipped."""
    import pty

    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-c", "from railscribe.cli.main import main; main()"]
    with subprocess.Popen(
        [*command, "audit", "review", "--interactive", "--by", "carol"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "RAILSCRIBE_DATABASE_URL": waiting},
    ) as asking:
        os.close(terminal)
        os.write(keyboard, b"perhaps\no\nA kitchen knife.\nq\n")
        screen = b""
        with suppress(OSError):  # the way a pseudo-terminal says that its other end was closed
            while piece := os.read(keyboard, 4096):
                screen += piece
    os.close(keyboard)

    assert asking.returncode == 0, screen.decode()
    with AuditStore.open(waiting) as store:
        _, rows = store.select("SELECT record_id, decision, reason, reviewed_by FROM reviews")
    assert rows == [(FIRST, "overturn", "A kitchen knife.", "carol")]
