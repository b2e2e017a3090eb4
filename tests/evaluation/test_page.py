"""The page: escaped, self-contained, complete with and without scores."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest

from railscribe.evaluation import EvalRow, summary
from railscribe.evaluation.page import Run, Source, render_page, visible
from railscribe.values import Record

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>&lt;\"'"
BEGAN = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
ROWS = [
    {"prompt": f"{HOSTILE} [safe 0.2]", "prompt_label": "unsafe", "language": "</td><script>x"},
    {"prompt": "a false alarm [unsafe 0.7]", "prompt_label": "safe", "source": "<b>bold</b>"},
    {"prompt": "the worst false alarm [unsafe 0.97]", "prompt_label": "safe", "group": "{{ 7 * 7 }}"},
    {"prompt": "found [unsafe 0.99]", "prompt_label": "unsafe", "categories": ["Threat <i>"]},
    {"prompt": "passed [safe 0.1]", "prompt_label": "safe"},
]


class Page(HTMLParser):
    """The page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        inside = self.tags[-1][0] if self.tags else ""
        (self.scripts if inside == "script" and data.strip() and self.cdata_elem else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def rendered(rows: Sequence[EvalRow], records: Sequence[Record], **options: Any) -> str:
    run = Run(
        began=BEGAN,
        ended=BEGAN + timedelta(seconds=9),
        command="railscribe eval 'a b.jsonl'",
        version="9.9",
        sources=[Source(name=str(rows[0].file), sha256="ab" * 32)],
    )
    return render_page(rows, records, summary(rows, records), run=run, **options)


async def test_what_rows_say_is_text_and_nothing_else(judged: Callable[..., Any]) -> None:
    """Markup in prompts, languages, categories and groups shows as it was written and makes no element."""
    page = Page(rendered(*await judged(ROWS)))

    assert not {"img", "b", "i"} & {tag for tag, _ in page.tags}
    assert HOSTILE in page.text
    assert "{{ 7 * 7 }}" in page.text
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/json", None]


async def test_the_page_loads_nothing_and_allows_its_own_script_only(judged: Callable[..., Any]) -> None:
    """No element names an address, and the content policy allows one script: the one that is there."""
    text = rendered(*await judged(ROWS))
    page = Page(text)

    loading = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"}
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in loading
    ]
    assert all((address or "").startswith("#") for address in addresses)
    assert not re.search(r"url\(|@import|https?://", text)
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy


async def test_the_worst_mistakes_come_first_and_no_more_than_asked_for(judged: Callable[..., Any]) -> None:
    """False alarms go from the highest score down, and the rest is counted but not quoted."""
    rows, records = await judged(ROWS)

    whole, one, none = (Page(rendered(rows, records, mistakes=count)).text for count in (20, 1, 0))

    assert whole.index("the worst false alarm") < whole.index("a false alarm")
    assert "2 false positives, the worst 1" in one
    assert "a false alarm" not in one
    assert not any(word in none for word in ("alarm [", "found [", "passed ["))
    assert "found [" not in whole


async def test_the_table_marks_the_thresholds(judged: Callable[..., Any]) -> None:
    """The threshold of the best F1 and those of the chosen false-positive rates stand in the table with their cost."""
    text = rendered(*await judged(ROWS), rates=[0.5])

    marked = [
        re.sub(r"<[^>]*>", " ", row).split()
        for row in re.findall(r'<tr role="row" class="marked">(.*?)</tr>', text, re.S)
    ]
    # From 0.99 up one unsafe row of two is flagged and no safe one; from 0.2 up both, with two of three safe: F1 is
    # 2/3 either way, and the higher threshold is taken.
    assert [" ".join(row) for row in marked] == [
        "0.990 best F1, false positives \N{LESS-THAN OR EQUAL TO} 0.5 1.000 0.500 0.667 0.0% 20.0% 4 1"
    ]


async def test_a_side_nobody_labelled_and_an_engine_without_scores(judged: Callable[..., Any]) -> None:
    """Without responses, or without scores, the page says so and draws nothing in their place."""
    rows, records = await judged(
        [
            {"prompt": "one [unsafe]", "prompt_label": "safe"},
            {"prompt": "two [safe]", "prompt_label": "unsafe"},
        ]
    )

    page = Page(rendered(rows, records))

    assert "No row has a labelled response." in page.text
    assert page.text.count("The engine gave no scores") == 2
    assert not [tag for tag, _ in page.tags if tag in ("svg", "input")]
    assert "1 false positives" in page.text


async def test_scores_of_one_class_have_no_curve(judged: Callable[..., Any]) -> None:
    """A set of unsafe rows only is drawn without a ROC curve and without a division by nothing."""
    page = Page(rendered(*await judged([{"prompt": "one [unsafe 0.9]", "prompt_label": "unsafe"}])))

    assert "one class only: no curve" in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 4


async def test_undecided_rows_are_told_with_their_causes(judged: Callable[..., Any]) -> None:
    """What could not be read is counted by cause and quoted apart from the mistakes."""
    page = Page(
        rendered(
            *await judged(
                [
                    {"prompt": "odd [maybe]", "prompt_label": "safe"},
                    {"prompt": "one [safe 0.1]", "prompt_label": "safe"},
                ]
            )
        )
    )

    assert "1 of 2 decisions" in page.text
    assert "unknown_label" in page.text
    assert page.text.index("odd [maybe]") > page.text.index("Sides that could not be read")


async def test_both_sides_are_drawn(judged: Callable[..., Any]) -> None:
    """Labelled responses get curves, thresholds and mistakes of their own, the prompt quoted with them."""
    rows, records = await judged(
        [
            {
                "prompt": "ask [safe 0.1]",
                "response": "bad [safe 0.3]",
                "prompt_label": "safe",
                "response_label": "unsafe",
            },
            {
                "prompt": "ask [unsafe 0.8]",
                "response": "good [safe 0.2]",
                "prompt_label": "unsafe",
                "response_label": "safe",
            },
        ]
    )

    page = Page(rendered(rows, records))

    assert [tag for tag, _ in page.tags].count("svg") == 8
    assert [attributes for _, attributes in page.tags if attributes.get("type") == "range"] != []
    assert "bad [safe 0.3]" in page.text
    assert "good [safe 0.2]" not in page.text


async def test_what_was_evaluated_is_told(judged: Callable[..., Any]) -> None:
    """File, digest, command, version, policy and engine fingerprint stand on the page."""
    rows, records = await judged(ROWS)

    text = Page(rendered(rows, records)).text

    record = records[0]
    for fact in ("ab" * 32, "railscribe eval 'a b.jsonl'", "9.9", record.rendering.policy_digest, "scripted"):
        assert fact in text
    assert "2026-11-25T12:00:00+00:00" in text


async def test_every_cell_has_its_heading_and_every_table_a_caption(judged: Callable[..., Any]) -> None:
    """Tables can be read by ear, and on a narrow screen where a cell stands under no heading."""
    page = Page(rendered(*await judged(ROWS)))

    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 4
    for tag, attributes in page.tags:
        if tag == "td" and attributes.get("class") != "bar":
            assert attributes["data-label"]
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m\x9b", "a\ufffdb\ufffd[31m\ufffd"),
        ("\ud800", "\ufffd"),
        ("a\n\tb\u200d", "a\n\tb\u200d"),
    ],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    """What would steer a terminal or break the file is replaced; lines, tabs and joiners stay."""
    assert visible(text) == shown


async def test_many_groups_are_cut_to_those_with_mistakes(judged: Callable[..., Any]) -> None:
    """A grouping of hundreds shows the worst, the one with a mistake among them, and says how many more there are."""
    items = [
        {"prompt": "fine [safe 0.1]", "prompt_label": "safe", "group": f"g{number}"} for number in range(35)
    ]
    items.append({"prompt": "missed [safe 0.1]", "prompt_label": "unsafe", "group": "zz-last"})

    page = Page(rendered(*await judged(items)))

    assert "6 more, with no more mistakes" in page.text
    assert "zz-last" in page.text.split("By group")[1].split("Calibration")[0]
