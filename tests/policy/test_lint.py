"""The lint: each code is found where it should be, and not beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from railscribe.policy import ready_policies, wording
from railscribe.policy.diagnostics import Severity
from railscribe.policy.document import MAX_BYTES
from railscribe.policy.lint import Reader, lint
from railscribe.policy.load import read_document
from railscribe.policy.wording import near_duplicates
from railscribe.taxonomy import BUILTIN_CATEGORIES

DOCS = Path(__file__).parents[2] / "docs" / "diagnostics.md"
LINT = Path(__file__).parents[2] / "plugin" / "railscribe" / "policy" / "lint.py"


def document(**fields: Any) -> dict[str, Any]:
    """A policy that the lint has nothing to say of, with *fields* changed."""
    good = {
        "name": "corner-shop",
        "version": "1",
        "description": "Chat of a corner shop.",
        "categories": [{"name": "Competitor Talk", "definition": "comparing us with rival shops"}],
        "disallowed": ["Naming what rival shops charge for groceries"],
        "allowed": ["Our own offers and opening hours"],
    }
    return {**good, **fields}


def named(*names: str, **fields: Any) -> dict[str, Any]:
    return document(categories=[{"name": name} for name in names], **fields)


BOTH = ["Giving advice on mortgage rates"]
LONG = "Talk of " + " and ".join(f"thing{number}" for number in range(25))
SERVER = Reader(name="openai_compatible", scores=False, scores_categories=False)
SMALL = Reader(name="tiny", context_tokens=300)

FOUND = [
    ("L001", document(description=""), document(), None),
    ("L001", document(colour="red"), document(), None),
    ("L002", named("Refunds, Returns"), named("Refunds and Returns"), None),
    ("L003", document(suppressed=["Profanty"]), document(suppressed=["Profanity"]), None),
    ("L003", named("profanity"), named("Profanity"), None),
    ("L004", named("Betting", "betting"), named("Betting", "Bluffing"), None),
    (
        "L004",
        document(allowed=["Our offers", "Our offers"]),
        document(allowed=["Our offers", "Our hours"]),
        None,
    ),
    ("L005", named("Competitor Talk", "Competitors Talk"), named("Competitor Talk", "Medical Advice"), None),
    ("L005", named("Violent Harm", "Harm Violent"), named("Violent Harm", "Violent Films"), None),
    ("L005", named("Weapons (illegal) and guns"), named("Water Guns"), None),
    ("L006", named("Profanety"), named("Proficiency"), None),
    ("L007", named("S7: Weapons"), named("Windows Phone S7 Repairs"), None),
    (
        "L008",
        document(disallowed=["Refunds"]),
        document(disallowed=["Promising a refund before the return"]),
        None,
    ),
    (
        "L009",
        document(disallowed=["Killing people by process"], allowed=["Killing a process or a thread"]),
        document(disallowed=["Harming people at a workplace"], allowed=["Killing a process or a thread"]),
        None,
    ),
    (
        "L010",
        document(disallowed=BOTH, allowed=["Giving advice on a mortgage rate"]),
        document(disallowed=BOTH, allowed=["Explaining what a mortgage is"]),
        None,
    ),
    (
        "L011",
        document(allowed=["Talk of competitors"]),
        document(allowed=["Naming a competitor whose goods the customer wants to return to us"]),
        None,
    ),
    (
        "L012",
        document(disallowed=["Naming rival shops, such as Bargain Barn"]),
        document(disallowed=["Naming rival shops in the same town"]),
        None,
    ),
    ("L012", document(disallowed=['Calling a customer "sweetheart" or worse']), document(), None),
    ("L013", document(disallowed=[LONG]), document(disallowed=[LONG[:60]]), None),
    (
        "L014",
        document(disallowed=["Naming rival shops. Naming their prices."]),
        document(disallowed=["Naming rival shops at 9.30 a day."]),
        None,
    ),
    (
        "L015",
        document(disallowed=["Naming rival shops unless a customer does"]),
        document(allowed=["Naming rival shops whose goods come back, except on Sundays"]),
        None,
    ),
    (
        "L016",
        document(disallowed=["Not telling customers that there is no refund"]),
        document(disallowed=["Telling customers that there is no refund"]),
        None,
    ),
    ("L017", document(allowed=[]), document(), None),
    ("L018", named(*(f"Topic {number:03}" for number in range(101))), named("Topic"), None),
    ("L019", document(languages=["en", "sv"]), document(languages=["en", "pt", "ru"]), None),
    ("L019", document(refusals={"sv": "Nej."}), document(refusals={"de": "Nein."}), None),
    ("L020", document(threshold=0.6), document(), SERVER),
    ("L020", document(review_band=[0.3, 0.6]), document(), SERVER),
    ("L021", document(categories=[{"name": "Betting", "threshold": 0.4}]), named("Betting"), SERVER),
    ("L022", document(allowed=["word " * 100 + str(number) for number in range(5)]), document(), SMALL),
    (
        "L024",
        document(disallowed=[f"Selling the product of number {n} to somebody abroad" for n in range(6000)]),
        document(allowed=["Selling the product to somebody abroad"] * 4000),
        None,
    ),
    ("L023", document(), document(builtin=False, disallowed=[], allowed=[], description="Us."), SMALL),
]


def codes(policy: dict[str, Any], reader: Reader | None) -> set[str]:
    return {each.code for each in lint(policy, reader=reader)}


@pytest.mark.parametrize(
    ("code", "bad", "good", "reader"), FOUND, ids=[f"{row[0]}-{n}" for n, row in enumerate(FOUND)]
)
def test_each_code_is_found_and_its_near_miss_is_not(
    code: str, bad: dict[str, Any], good: dict[str, Any], reader: Reader | None
) -> None:
    """A rule that fires on everything would be switched off, one that fires on nothing trusted in vain."""
    assert code in codes(bad, reader)
    assert code not in codes(good, reader)


def category(name: str, definition: str) -> dict[str, Any]:
    return document(categories=[{"name": name, "definition": definition}])


NEAR_MISSES = [
    ("L007", named("S3 Bucket Exposure")),
    ("L007", document(disallowed=["Making an S3-compatible bucket public", "Deleting the backups in S3."])),
    ("L007", document(disallowed=["Selling the Galaxy S21 - or its parts - to minors"])),
    ("L008", document(disallowed=["向客户承诺退款", "客観的な根拠のない投資助言", "สัญญาว่าจะคืนเงินให้ลูกค้า"])),
    ("L011", named("Harassment", allowed=["Reporting harassment to us"])),
    ("L011", named("Profanity", allowed=["Profanity in quotations"])),
    (
        "L011",
        category("Rivals", "comparing us with rival shops")
        | {"allowed": ["Comparing us with rival shops whose customers complain of their deliveries"]},
    ),
    ("L012", document(disallowed=['Using the name "Bargain Barn" for our own goods'])),
    ("L012", document(disallowed=['Calling our cards "Visa" or "American Express" cards'])),
    ("L012", document(disallowed=['Naming what rival shops charge for 40" and 55" screens'])),
    ("L014", document(disallowed=["Advice on U.S. tax law", "Giving the number of Dr. Smith's ward"])),
    (
        "L014",
        document(
            disallowed=["Trading the shares of Acme Inc. before results", "Opening Yahoo! Mail of others"]
        ),
    ),
    ("L014", document(disallowed=["Selling wine of more than 12 vol. percent to minors"])),
    ("L015", document(disallowed=["Investment advice, including but not limited to shares and funds"])),
    ("L015", document(disallowed=["Excluding people from a job because of their age"])),
    ("L015", document(disallowed=["Giving account data to anybody other than the account's holder"])),
    ("L015", document(disallowed=["Answering customers in languages other than English"])),
    ("L015", document(disallowed=["Swallowing errors with bare except clauses or a try/except block"])),
    ("L016", document(disallowed=["Telling patients not to see a doctor or not to take their medicine"])),
    ("L016", document(disallowed=["Promoting no win no fee offers"])),
    ("L016", document(disallowed=["Sharing what a customer said, whether or not it does no harm"])),
    ("L016", document(disallowed=["Advertising no-deposit loans with no credit check"])),
]


@pytest.mark.parametrize(
    ("code", "good"), NEAR_MISSES, ids=[f"{c}-{n}" for n, (c, _) in enumerate(NEAR_MISSES)]
)
def test_phrases_of_a_compliance_officer_are_let_be(code: str, good: dict[str, Any]) -> None:
    """They look like what a rule is about, and are what an officer would write and leave as it is."""
    assert code not in codes(good, None)


STILL_FOUND = [
    ("L007", named("S7 Weapons")),
    ("L007", named("Weapons (S7)")),
    ("L007", document(disallowed=["What S1: Violence is about in our shop"])),
    ("L008", document(disallowed=["退款"])),
    ("L011", named("Profanity", allowed=["Any kind of profanity"])),
    (
        "L011",
        category("Rivals", "comparing us with rival shops") | {"allowed": ["Comparing us with rival shops"]},
    ),
    ("L012", document(disallowed=["Asking \u201chow do I get out of here\u201d and the like"])),
    ("L013", document(disallowed=["向客户承诺退款" * 20])),
    ("L014", document(disallowed=["Advice on U.S. tax. Advice on shares."])),
    ("L015", document(disallowed=["Giving a discount to members, excluding those on Sundays"])),
    ("L016", document(disallowed=["Never saying that a price cannot change"])),
    ("L019", document(categories=[{"name": "Betting", "refusals": {"sv": "Nej."}}])),
]


@pytest.mark.parametrize(
    ("code", "bad"), STILL_FOUND, ids=[f"{c}-{n}" for n, (c, _) in enumerate(STILL_FOUND)]
)
def test_what_the_near_misses_resemble_is_found(code: str, bad: dict[str, Any]) -> None:
    """Letting a phrase be lets nothing else pass."""
    assert code in codes(bad, None)


def test_what_is_too_large_is_told_and_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of compile and of reading a file; a document without an end has it, too."""
    monkeypatch.setattr("railscribe.policy.lint.parse_policy", None)
    endless: dict[str, Any] = document()
    endless["categories"] = [endless]

    for large in (document(refusal="x" * MAX_BYTES), endless):
        assert [(each.code, each.severity) for each in lint(large)] == [("L024", Severity.ERROR)]


def test_each_wording_is_cut_into_words_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each that it is compared with: 60 clauses here, and in all 900 pairs of them."""
    cut: list[str] = []
    stems = wording.stems

    def counting(text: str) -> tuple[str, ...]:
        cut.append(text)
        return stems(text)

    monkeypatch.setattr(wording, "stems", counting)
    monkeypatch.setattr("railscribe.policy.lint.stems", counting)

    lint(
        named(
            *(f"Topic {n}" for n in range(30)),
            disallowed=[f"Selling product {n} to somebody abroad" for n in range(30)],
            allowed=[f"Giving advice on subject {n} at home" for n in range(30)],
        )
    )

    assert max(map(cut.count, (text for text in cut if text and text not in BUILTIN_CATEGORIES))) <= 4


def test_every_code_is_documented_and_tried() -> None:
    """Code, docs and tests know the same codes, with the same severities."""
    in_code = set(re.findall(r'"(L\d{3})"', LINT.read_text(encoding="utf-8")))
    table = dict(re.findall(r"^\| (L\d{3}) \| ([a-z, ]+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))

    assert in_code == set(table) == {code for code, *_ in FOUND}
    for code, bad, _, reader in FOUND:
        severities = {each.severity.value for each in lint(bad, reader=reader) if each.code == code}
        assert severities <= set(table[code].split(", "))


def test_a_diagnostic_knows_its_line(tmp_path: Path) -> None:
    """An editor can jump there: file, line and field, in the order of the lines."""
    path = tmp_path / "shop.yaml"
    path.write_text(
        'name: shop\nversion: "1"\ndescription: A shop.\ncategories:\n  - name: Betting\n'
        "    definition: wagers, such as bets\ndisallowed:\n  - Refunds\n",
        encoding="utf-8",
    )
    read, lines = read_document(path)

    told = [
        (each.code, each.place.removeprefix(str(path))) for each in lint(read, lines=lines, file=str(path))
    ]

    assert told == [("L012", ":6"), ("L017", ":7"), ("L008", ":8")]


def test_a_broken_document_is_linted_as_far_as_it_goes() -> None:
    """All breaches of single fields come at once, each an error."""
    told = lint({"name": "Shop", "version": 1, "categories": [{"name": "a, b"}]})

    assert {each.code for each in told} == {"L001", "L002"}
    assert {each.severity for each in told} == {Severity.ERROR}
    assert len(told) == 4  # name, version, description, comma


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ({"holds no comma": 1}, "L001"),
        ({"mode": "listed twice"}, "L001"),
        ({"categories": [{"name": "Betting", "parent": "no built-in category"}]}, "L001"),
        ({"languages": ["en", "en"]}, "L004"),
        ({"suppressed": ["Threat", "Threat"]}, "L004"),
        ({"suppressed": ["Threats"]}, "L003"),
    ],
    ids=str,
)
def test_a_breach_has_its_code_whatever_its_message_quotes(written: dict[str, Any], code: str) -> None:
    """The code goes by what is wrong, not by words that the document itself may hold."""
    assert [each.code for each in lint(document(**written))] == [code]


@pytest.mark.parametrize("name", sorted(ready_policies()))
def test_the_ready_policies_are_clean(name: str) -> None:
    """What we ship keeps our own advice."""
    read, lines = read_document(ready_policies()[name])

    assert [
        (each.code, each.message) for each in lint(read, lines=lines) if each.severity is not Severity.NOTE
    ] == []


FORMS: dict[str, Callable[[int], str]] = {
    "one rare word each": lambda n: f"Requests about subject{n} handled by office{n % 97} on floor{n % 13}",
    "three words": lambda n: f"Selling product{n % 101} abroad{n % 103}",
    "five of a few words": lambda n: " ".join(f"word{n // 7**power % 7 + 7 * power}" for power in range(5)),
    "four or five words": lambda n: (
        f"Goods{n % 11} thing{n % 97} place{n % 89} time{n % 83}" + " more" * (n % 2)
    ),
    "alike, all of them": lambda n: f"subject{n} red green blue white black brown grey pink teal",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_clauses_are_compared_in_a_number_that_grows_with_theirs(
    form: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near-duplicates are looked for among what shares rare words, and each text is compared with few of those."""
    compared = 0
    compare = wording.alike

    def counting(one: frozenset[str], other: frozenset[str]) -> bool:
        nonlocal compared
        compared += 1
        return compare(one, other)

    monkeypatch.setattr(wording, "alike", counting)

    def comparisons(count: int) -> int:
        nonlocal compared
        compared = 0
        list(near_duplicates([form(n) for n in range(count)]))
        return compared

    assert comparisons(5000) <= 12 * max(comparisons(500), 500)  # all pairs would be a hundred times as many


OPPOSITES = [
    ("Orders above 100 euros", "Orders below 100 euros"),
    ("Transfers from a savings account", "Transfers to a savings account"),
    ("Transfers from savings to checking", "Transfers to savings from checking"),
    ("Refunds in the first month", "Refunds after the first month"),
    ("Deliveries within 14 days", "Deliveries after 14 days"),
    (
        "Sharing personal data of a customer with a partner with their consent in writing",
        "Sharing personal data of a customer with a partner without their consent in writing",
    ),
    ("Medical advice that a doctor did not sign off", "Medical advice that a doctor did sign off"),
    ("Alcohol for customers over 18", "Alcohol for customers under 18"),
    (
        "Refunds of electronics that members bought less than 30 days ago in any of our shops",
        "Refunds of electronics that members bought less than 60 days ago in any of our shops",
    ),
    ("Questions on C++", "Questions on C"),
]


@pytest.mark.parametrize(("forbidden", "fine"), OPPOSITES)
def test_opposites_are_neither_contradictions_nor_duplicates(forbidden: str, fine: str) -> None:
    """Where the line runs between 'above' and 'below', both clauses are needed, and that is no mistake."""
    assert "L010" not in codes(document(disallowed=[forbidden], allowed=[fine]), None)
    assert "L005" not in codes(document(disallowed=[forbidden, fine]), None)


@pytest.mark.parametrize(
    ("fine", "severity"),
    [
        ("giving advice, on  mortgage rates.", Severity.ERROR),
        ("Giving advice on mortgage-rates", Severity.ERROR),
        ("Giving advice on a mortgage rate", Severity.WARNING),
        ("Advice that is given about mortgage rates", Severity.WARNING),
    ],
)
def test_only_the_same_words_are_an_error(fine: str, severity: Severity) -> None:
    """An error fails a build, so it takes the same words; others may mean something else."""
    told = lint(
        document(disallowed=["Advice given on mortgage rates", *BOTH], allowed=["Opening hours", fine])
    )

    assert [(each.code, each.severity) for each in told if each.code == "L010"] == [("L010", severity)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.sampled_from([f"w{n}" for n in range(14)]), min_size=1, max_size=14).map(" ".join),
        max_size=30,
    )
)
def test_what_repeats_an_earlier_text_is_found(texts: list[str]) -> None:
    """Looking among rare words finds a text's likes where comparing all pairs does, and only likes."""
    sets = wording.stems_of(texts)
    expected = [
        later for later in range(len(texts)) if any(wording.alike(sets[later], each) for each in sets[:later])
    ]

    found = list(near_duplicates(texts))

    assert sorted(later for _, later in found) == expected
    assert all(earlier < later and wording.alike(sets[earlier], sets[later]) for earlier, later in found)
