"""Policies from names and files: found, read without surprises, refused with file, line, field and hint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from railscribe.errors import PolicyError
from railscribe.policy import load_policy, parse_policy, policy_documents, ready_policies
from railscribe.taxonomy import SEXUAL_MINOR
from railscribe.values import Action

HEAD = 'name: mine\nversion: "1"\ndescription: My own.\n'


def refusal(path: Path) -> str:
    with pytest.raises(PolicyError) as refused:
        load_policy(str(path))
    message = str(refused.value)
    assert str(path) in message
    return message


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


READY = [
    "childrens-education",
    "customer-support",
    "default",
    "dev-tools-assistant",
    "enterprise-rag-copilot",
    "health-care-provider",
    "retail-banking",
]


@pytest.mark.parametrize("name", READY)
def test_ready_policy_loads_by_name(name: str) -> None:
    """Each policy that ships is found by its name, carries it, and blocks what must be blocked."""
    policy = load_policy(name)

    assert policy.name == name
    floor = policy.category(SEXUAL_MINOR)
    assert floor is not None
    assert floor.action is Action.BLOCK
    assert load_policy(str(ready_policies()[name])) == policy


def test_ready_policies_are_these() -> None:
    """The names that ship are known; a new one is added here and to the documents."""
    assert list(ready_policies()) == READY


def test_dev_tools_policy_lets_its_users_work() -> None:
    """The words that frighten a guard stand under what is allowed, and nowhere among what is not."""
    policy = load_policy("dev-tools-assistant")

    assert any("Killing" in clause and "processes" in clause for clause in policy.allowed)
    assert not any(
        "kill" in text.casefold()
        for text in (*policy.disallowed, *(c.definition or "" for c in policy.categories))
    )


def test_rag_policy_keeps_secrets() -> None:
    """The copilot's policy knows credentials, deals and colleagues' data as categories of its own."""
    names = {category.name for category in load_policy("enterprise-rag-copilot").categories}

    assert {"Credentials and Secrets", "Unannounced Business", "Colleagues' Private Data"} <= names


@pytest.mark.parametrize(
    ("name", "near"), [("defualt", "default"), ("dev-tools", "dev-tools-assistant"), ("", "default")]
)
def test_unknown_name_suggests_the_nearest(name: str, near: str) -> None:
    """A name that is none is answered with the ready names like it."""
    with pytest.raises(PolicyError) as refused:
        load_policy(name)

    assert str(refused.value).startswith(f"There is no policy called {name!r}.")
    assert near in (refused.value.hint or "")


def test_yaml_and_json_are_the_same_policy(tmp_path: Path) -> None:
    """One document in YAML, in JSON and with a byte-order mark has one digest."""
    document = {
        "name": "mine",
        "version": "1",
        "description": "My own.",
        "disallowed": ["Tickets \U0001f3ab"],
    }
    text = HEAD + 'disallowed: ["Tickets \U0001f3ab"]\n'
    paths = [
        written(tmp_path, text),
        written(tmp_path, "\ufeff" + text, "bom.yml"),
        written(tmp_path, json.dumps(document), "mine.json"),
        written(tmp_path, "\ufeff" + json.dumps(document, indent="\t"), "TABS.JSON"),
    ]

    assert len({load_policy(str(path)).digest for path in paths}) == 1


def test_long_text_may_be_folded(tmp_path: Path) -> None:
    """YAML's folded text is one line once read."""
    path = written(tmp_path, 'name: mine\nversion: "1"\ndescription: >\n  My\n  own.\n')

    assert load_policy(str(path)).description == "My own."


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    """An edit takes effect with the next check, not with the next start."""
    path = written(tmp_path, HEAD)
    before = load_policy(str(path))
    written(tmp_path, HEAD + "refusal: No.\n")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))

    assert before.refusal != load_policy(str(path)).refusal == "No."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "suppressed:\n  - Threat\n  - Profanty\n", "line 6, suppressed.1: 'Profanty' is no built-in"),
        (HEAD + "categories:\n  - name: Tickets\n    acton: flag\n", "line 6, categories.0.acton: no such"),
        (HEAD + "builtin: false\n", "the policy forbids nothing"),
        (HEAD + "dissallowed: [x]\n", "line 4, dissallowed: no such field; did you mean 'disallowed'"),
        (HEAD + "disallowed:\n- Deleting: files\n", "line 5, disallowed.0: must be text; put it in quotes"),
        (HEAD + "allowed: &a [x]\ndisallowed: *a\n", "line 5: a policy is written out, without aliases"),
        (HEAD + "allowed: [x]\nallowed: [y]\n", "line 5: 'allowed' is given twice"),
        (HEAD + "<<: {allowed: [x]}\n", "line 4: a policy is written out, without merges"),
        (HEAD + "categories:\n- {name: A, <<: {name: B, action: flag}}\n", "line 5: a policy is written out"),
        (HEAD + "categories:\n- {name: A, name: B}\n", "line 5: 'name' is given twice"),
        (HEAD + "allowed: [x\n", "line 5: expected ',' or ']'"),
        (HEAD + "allowed:\n\t- x\n", "line 5: found character '\\t' that cannot start any token"),
        (HEAD + "---\nname: other\n", "line 4: but found another document"),
        (HEAD + "action: !!python/object:os.system x\n", "line 4: could not determine a constructor"),
        (HEAD + "? [a]\n: b\n", "line 4: found unhashable key"),
        ("name: mine\nversion: 1.10\ndescription: d\n", "line 2, version: must be text; put it in quotes"),
        ("name: mine\nversion: 2026-11-22\ndescription: d\n", "line 2, version: must be text"),
        ("name: mine\nversion: 2026-99-99\ndescription: d\n", "month must be in 1..12"),
        ("name: no\nversion: '1'\ndescription: d\n", "line 1, name: must be text; put it in quotes"),
        (HEAD + f"builtin: {'9' * 5000}\n", "mine.yaml: "),
        (HEAD + "refusal: a\x00b\n", "special characters are not allowed"),
        ("", "does not hold a policy"),
        ("# nothing but a comment\n", "does not hold a policy"),
        ("- name: mine\n", "does not hold a policy"),
        ("just words", "does not hold a policy"),
        (b"name: \xff\xfe", "is not UTF-8 text"),
        ("- " * 5000, "nested too deeply"),
        (HEAD + "allowed: " + "{a: " * 3000, "nested too deeply"),
    ],
)  # fmt: skip
def test_malformed_yaml(tmp_path: Path, text: str | bytes, expected: str) -> None:
    """A YAML file that holds no policy is refused with its name, the line and field, and what to do."""
    assert expected in refusal(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "mine",\n "version" "1"}', "line 2: Expecting ':' delimiter"),
        ('{\n\t"name": "mine",\n\t"version": 1,\n\t"description": "d"\n}', "line 3, version: must be text"),
        ('{"name": "mine", "name": "yours"}', "'name' is given twice"),
        ('{"name": "mine", "version": "1", "description": "\\ud800"}', "description: "),
        ('{"name": NaN}', "name: must be text"),
        ("[" * 200_000, "nested too deeply"),
        ('{"version": ' + "9" * 5000 + "}", "mine.json: "),
        ("null", "does not hold a policy"),
        ("", "line 1: Expecting value"),
    ],
)
def test_malformed_json(tmp_path: Path, text: str, expected: str) -> None:
    """A JSON file is held to the same, and told in the same words."""
    assert expected in refusal(written(tmp_path, text, "mine.json"))


def test_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Merged aliases, which would multiply to billions of keys, are refused at the first one."""
    levels = "".join(f"l{n}: &l{n}\n  <<: [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))

    message = refusal(written(tmp_path, HEAD + "l0: &l0 {a: b}\n" + levels))

    assert "line 6: a policy is written out, without aliases" in message


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """A file that no model could read is refused by its size."""
    assert "is larger than 262144 bytes" in refusal(written(tmp_path, HEAD + "#" * 300_000))


def test_missing_file_is_told_with_the_ready_names(tmp_path: Path) -> None:
    """A path to nothing is told with the system's reason and the names that need no path."""
    message = refusal(tmp_path / "none.yaml")

    assert "No such file or directory" in message
    assert "default, dev-tools-assistant" in message


def test_folder_is_no_policy_file(tmp_path: Path) -> None:
    """A folder with a policy's ending is told as what it is."""
    (tmp_path / "folder.yaml").mkdir()

    assert "Is a directory" in refusal(tmp_path / "folder.yaml")


def test_impossible_path_is_a_policy_error() -> None:
    """A path that no system takes is refused like any other."""
    with pytest.raises(PolicyError, match="Cannot read the policy file"):
        load_policy("a\x00b.yaml")


def test_a_list_of_policies_has_its_built_in_categories_off(tmp_path: Path) -> None:
    """Rows that name a policy of a list are labelled by its own words; one that says otherwise is left as it is."""
    document = {"name": "mine", "version": "1", "description": "Mine.", "disallowed": ["Betting."]}
    path = written(
        tmp_path, json.dumps([document, {**document, "name": "more", "builtin": True}]), "list.json"
    )

    found = {name: parse_policy(document) for name, document in policy_documents(path).items()}

    assert {name: policy.builtin for name, policy in found.items()} == {"mine": False, "more": True}


@pytest.mark.parametrize("text", ["{", "3", '["x"]', "[{}]", '[{"name": "a", "name": "b"}]'])
def test_what_is_no_list_of_policies_is_refused(tmp_path: Path, text: str) -> None:
    """A file that holds something else is named, whatever it holds."""
    path = written(tmp_path, text, "list.json")

    with pytest.raises(PolicyError, match=r"list\.json does not hold policies"):
        policy_documents(path)
    with pytest.raises(PolicyError, match="Cannot read"):
        policy_documents(tmp_path / "none.json")
