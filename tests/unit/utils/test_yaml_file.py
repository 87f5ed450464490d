"""YAML is read as YAML 1.2, or refused with the line and what to write."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from dia.errors import ConfigError
from dia.utils.yaml_file import parse_yaml, read_yaml

ROOT = Path(__file__).parents[3]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "c.yaml")
    return str(caught.value)


# The core schema of YAML 1.2.2, section 10.3.2; the values by hand.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("1e-5", 0.00001),
        ("-2E+2", -200.0),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("+.inf", math.inf),
        ("0", 0),
        ("-0", 0),
        ("0x1F", 31),
        ("9223372036854775807", 2**63 - 1),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("2024-01-02", "2024-01-02"),
        ("y", "y"),
        ('"010"', "010"),
        ("'no'", "no"),
        ("!!str 5", "5"),
        ('"1:30"', "1:30"),
        ("0.25", 0.25),
        ('"0.25"', "0.25"),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"a: {text}", "c.yaml")["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["yes", "No", "ON", "off", "Yes"])
def test_truth_values_of_yaml_1_1_are_refused(text: str) -> None:
    assert refusal(f"a: 1\nb: {{c: {text}}}") == (
        f"c.yaml: 1 fault\n  line 2, column 8: {text} is a truth value in YAML 1.1 and text in YAML 1.2: "
        f'write true or false, or "{text}" in quotes'
    )


@pytest.mark.parametrize(
    "text", ["010", "-07", "08", "1:30", "1:30.5", "1_000", "0b11", "0o17", "1_0.5", "+0x10", "012e3", "0_7"]
)
def test_numbers_that_two_versions_read_differently_are_refused(text: str) -> None:
    assert (
        f"line 1, column 5: {text} is another number, or text, in YAML 1.1 than in YAML 1.2: "
        f'write a plain decimal number, or "{text}" in quotes'
    ) in refusal(f"a: [{text}]")


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "-9223372036854775809", "0x1" + "0" * 16, "1" * 5000]
)
def test_integers_beyond_64_bits_are_refused(text: str) -> None:
    message = refusal(f"seeds: [{text}]")
    assert "line 1, column 9: " in message
    assert "is beyond 64 bits; the largest whole number is 9223372036854775807" in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("a: 1\nb: 2\na: 3", ["line 3, column 1: duplicate key 'a', already in line 1: keep one of them"]),
        ("a:\n  b: {c: 1, d: 2, c: 1}", ["line 2, column 19: duplicate key 'c', already in line 2"]),
        ("- {a: 1}\n- a: 1\n  'a': 1", ["line 3, column 3: duplicate key 'a', already in line 2"]),
        ('{"a": 1,\n "a": 2}', ["line 2, column 2: duplicate key 'a'"]),
        ("null: 1\n~: 2\nnull: 3", ["line 3, column 1: duplicate key 'null', already in line 1"]),
        (
            "x: &x {a: 1, a: 2}\ny: &y {b: 1}\nz:\n  <<: *x\n  <<: *y",
            [
                "line 1, column 14: duplicate key 'a', already in line 1",
                "line 5, column 3: duplicate key '<<', already in line 4: name both in one list, <<: [*a, *b]",
            ],
        ),
        ("? [a, b]\n: 1", ["line 1, column 3: a key must be text, not a list or a mapping"]),
    ],
)
def test_duplicate_and_odd_keys_are_refused(text: str, messages: list[str]) -> None:
    found = refusal(text)
    assert found.startswith(f"c.yaml: {len(messages)} fault")
    for message in messages:
        assert message in found


def test_keys_of_a_merge_are_overridden_without_a_word() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {a: 3}\nz: {<<: [*y, *x], b: 4}"
    assert parse_yaml(text, "c.yaml")["z"] == {"a": 3, "b": 4}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "a: " + "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "- " * 10_000,
        "".join(f"{' ' * n}a:\n" for n in range(200)),
        "\n".join(f"a{n}: &a{n} [*a{n - 1}]" if n else "a0: &a0 [1]" for n in range(100)),
    ],
)
def test_deep_nesting_is_refused_in_words(text: str) -> None:
    assert "more than 50 lists and mappings inside each other" in refusal(text)


def test_an_alias_bomb_is_refused_in_words() -> None:
    bomb = "\n".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" if n else "a0: &a0 [1]" for n in range(30)
    )
    assert "more than 1,000,000 values, counting those that aliases (*name) repeat" in refusal(bomb)


def test_an_alias_of_its_own_block_is_refused() -> None:
    assert "line 1, column 4: an alias (*name) repeats the block that it stands in" in refusal(
        "a: &a [1, *a]"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "c.yaml is not YAML: line 2, column 2: "),
        (
            "a: 1\n\tb: 2",
            "c.yaml is not YAML: line 2, column 1: found character '\\t' that cannot start any token",
        ),
        ("a: b: c", "c.yaml is not YAML: line 1, column 5: mapping values are not allowed here"),
        ("a: *b", "c.yaml is not YAML: line 1, column 4: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "c.yaml is not YAML: line 2, column 1: but found another document"),
        ("a: 1\nb: \x07", "c.yaml is not YAML: line 2: character #x07"),
        ("a: {<<: 1}", "c.yaml is not YAML: line 1, column 9: expected a mapping or list of mappings"),
    ],
)
def test_broken_yaml_is_named_with_line_and_column(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [ls]",
        "!!binary aGk=",
        "!!set {a, b}",
        "!mine 3",
        "!!int '3'",
        "!!bool yes",
    ],
)
def test_tags_are_refused(text: str) -> None:
    assert "line 1, column 4: the tag !" in refusal(f"a: {text}")


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_files_mean_the_same_in_yaml_1_1(path: Path) -> None:
    assert read_yaml(path, "config") == yaml.safe_load(path.read_text())


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name, content in {"latin.yaml": b"a: \xe4", "folder": None, "absent": None}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=f"cannot read the config .*{name}"):
            read_yaml(tmp_path / name, "config")


def test_json_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    value: dict[str, Any] = {"a": [1, 2.5, 1e-7, "é", None, True], "b": {"c": "0.25"}}
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(value), encoding="utf-8")
    assert read_yaml(tmp_path / "a.json", "config") == value
