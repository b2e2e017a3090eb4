"""``railscribe eval`` on the shell, against a server on this machine that says what each text tells it to say."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

Run = Callable[..., Any]
"""The fixture ``railscribe``: runs the command line and returns its code, out and err."""
POLICY = {
    "name": "chess-club",
    "version": "1",
    "description": "A chess club.",
    "categories": [{"name": "Betting", "definition": "Bets on games."}],
}


class _Server(BaseHTTPRequestHandler):
    """Reads "[unsafe 0.9]" out of the last user message and says it, with the log-probabilities of 0.9."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(
            {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1, "owned_by": "x"}]}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = re.search(r"\[(\w+) ([\d.]+)\]", json.dumps(body["messages"]))
        label, score = (said[1], float(said[2])) if said else ("safe", 0.0)
        words = ["User", " Safety", ":", f" {label}"]
        likely = {" unsafe": score, " safe": 1 - score}
        tokens: list[dict[str, Any]] = [
            {"token": word, "logprob": 0.0, "bytes": None, "top_logprobs": []} for word in words
        ]
        tokens[-1]["top_logprobs"] = [
            {"token": token, "logprob": math.log(max(share, 1e-9)), "bytes": None}
            for token, share in likely.items()
        ]
        self._send(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "tiny",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "".join(words)},
                        "finish_reason": "stop",
                        "logprobs": {"content": tokens},
                    }
                ],
            }
        )

    def _send(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def written(path: Path, items: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two files of rows: four that are scored, one of them under a policy out of a list."""
    one = written(
        tmp_path / "one.jsonl",
        [
            {"prompt": "<script>bad()</script> [safe 0.2]", "prompt_label": "unsafe", "group": "first"},
            {"prompt": "fine [safe 0.1]", "prompt_label": "safe", "group": "first"},
        ],
    )
    written(
        tmp_path / "two.jsonl",
        [
            {
                "prompt": "bet [unsafe 0.9]",
                "prompt_label": "unsafe",
                "group": "second",
                "policy": "chess-club",
            },
            {"prompt": "loud [unsafe 0.8]", "prompt_label": "safe", "group": "second"},
        ],
    )
    (tmp_path / "policies.json").write_text(json.dumps([POLICY]), encoding="utf-8")
    return one


def test_one_run_gives_figures_a_page_and_scores(
    railscribe: Run, tmp_path: Path, rows: Path, address: str
) -> None:
    """A pattern of files is judged in one run: the JSON, the page and the score lines agree, and no password shows."""
    ran = railscribe(
        "eval", "*.jsonl", "--policies", "policies.json", "--base-url", address.replace("//", "//me:hidden@"),
        "--report", "page.html", "--scores", "scores.out", "--json", RAILSCRIBE_MODEL="tiny",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    found = ran.json()
    assert (found["rows"], found["prompt"]["auroc"], found["prompt"]["f1"]) == (4, 0.75, 0.5)
    low, high = found["prompt"]["ci95"]["auroc"]
    assert 0 <= low <= 0.75 <= high <= 1
    assert set(found["by"]["group"]) == {"first", "second"}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;bad()&lt;/script&gt;" in page
    assert "<script>bad" not in page
    assert hashlib.sha256(rows.read_bytes()).hexdigest() in page
    assert "chess-club" in page
    assert "me:hidden@" not in page
    assert "me:***@127.0.0.1" in page
    lines = [json.loads(line) for line in (tmp_path / "scores.out").read_text(encoding="utf-8").splitlines()]
    assert [(line["file"], line["line"], line["label"], line["said"]) for line in lines] == [
        ("one.jsonl", 1, "unsafe", "safe"),
        ("one.jsonl", 2, "safe", "safe"),
        ("two.jsonl", 1, "unsafe", "unsafe"),
        ("two.jsonl", 2, "safe", "unsafe"),
    ]
    assert [line["score"] for line in lines] == pytest.approx([0.2, 0.1, 0.9, 0.8])
    assert "bad()" not in (tmp_path / "scores.out").read_text(encoding="utf-8")


def test_a_group_is_judged_alone_and_the_table_names_its_intervals(
    railscribe: Run, rows: Path, address: str
) -> None:
    """``--group`` leaves the other rows out, and the terminal's table has a line of intervals."""
    ran = railscribe("eval", rows.name, "--group", "fir*", "--base-url", address, "--model", "tiny")

    assert ran.code == 0, ran.err
    assert re.search(r"^ *prompt +2 ", ran.out, re.MULTILINE)
    assert re.search(r"^ *95 %", ran.out, re.MULTILINE)


def test_figures_are_whole_on_a_narrow_terminal(railscribe: Run, tmp_path: Path, address: str) -> None:
    """On 80 columns the long name of a category is cut, and no figure and no heading is."""
    rows = [
        {
            "prompt": f"{label} [{said} {score}]",
            "prompt_label": label,
            "categories": ["Political Conspiracy Theories"],
        }
        for label in ("safe", "unsafe")
        for said, score in (("safe", 0.2), ("unsafe", 0.9))
    ]
    written(tmp_path / "rows.jsonl", rows)

    ran = railscribe("eval", "rows.jsonl", "--base-url", address, "--model", "tiny", COLUMNS="80")

    assert ran.code == 0, ran.err
    table = ran.out.splitlines()
    assert max(map(len, table)) <= 80
    assert [line for line in table if "\N{HORIZONTAL ELLIPSIS}" in line[30:]] == []
    assert "category Political C\N{HORIZONTAL ELLIPSIS}" in ran.out
    assert "undec." in ran.out


def test_what_is_wrong_is_said_before_anything_is_judged(railscribe: Run, rows: Path) -> None:
    """A folder that is not there, a file that is not there and a list that is none end with exit code 2."""
    (rows.parent / "none.json").write_text("3", encoding="utf-8")

    nowhere = railscribe("eval", rows.name, "--report", "no/folder/page.html")
    missing = railscribe("eval", "nothing*.jsonl")
    listless = railscribe("eval", rows.name, "--policies", "none.json")

    assert (nowhere.code, missing.code, listless.code) == (2, 2, 2)
    assert "There is no folder for" in nowhere.err
    assert "nothing*.jsonl" in missing.err
    assert "none.json does not hold policies" in listless.err


def test_the_help_says_that_content_goes_into_the_report(railscribe: Run) -> None:
    """Who asks for a report is told that it quotes the rows."""
    text = " ".join(railscribe("eval", "--help").out.split())

    assert "what the rows say goes into this file" in text
