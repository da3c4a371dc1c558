import time

import pytest
import yaml

from espnet2_avsep.data.tables.yaml_file import (
    MAX_BYTES,
    MAX_DEPTH,
    parse_yaml,
    read_mapping,
    read_yaml,
)
from espnet2_avsep.errors import MAX_MESSAGE, InputError, shown


def bomb(entry, first):
    """Return eleven lines, each of which refers to the one before nine times."""
    lines = [f"a0: &a0 {first}"]
    for n in range(1, 12):
        aliases = ",".join([f"*a{n - 1}"] * 9)
        lines.append(f"a{n}: &a{n} {entry.format(aliases)}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text, reason",
    [
        (bomb("[{}]", "[x]"), "aliases expand to more than"),
        (bomb("{{<<: [{}]}}", "{x: 1}"), "aliases expand to more than"),
        ("[" * 1000, "levels of nesting"),
        ("- " * 1000, "levels of nesting"),
        ("[" + "x," * 60_000 + "]", "more than 50000 values"),
        ("x" * (MAX_BYTES + 1), "refused"),
        ("x: &a [*a]", "within the value that it refers to"),
        ("!!python/object/apply:os.system [true]", "not valid YAML"),
        ("a: 2020-13-45", "month must be in 1..12"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("? [1]\n: 2", "unhashable"),
        ("a: {b: 1}\nc: 2\na: {b: 3}\n", "line 3: the key 'a' is in line 1 too"),
        ("x: {lr: 1, eps: 2, lr: 3}", "the key 'lr' is in line 1 too"),
        ("a: [", "not valid YAML"),
        ("\0", "not valid YAML"),
    ],
)
def test_hostile_files_are_refused_at_once_with_a_short_message(text, reason):
    start = time.process_time()
    with pytest.raises(InputError, match=reason) as caught:
        parse_yaml(text, "config.yaml")
    assert time.process_time() - start < 20
    assert str(caught.value).startswith("config.yaml: ")
    assert len(str(caught.value)) < 500


def test_ordinary_files_are_read_as_pyyaml_reads_them(tmp_path):
    deep = 1
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    shared = ["x", 2]
    value = {"a": shared, "b": [shared, shared], "c": deep, "d": None, "e": 1e-3}
    text = yaml.safe_dump(value)
    assert "*id001" in text
    assert parse_yaml(text, "x") == yaml.safe_load(text) == value
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_mapping(tmp_path / "a.yaml") == value
    assert read_yaml(tmp_path / "no.yaml") == {}
    assert parse_yaml("", "x") is None


def test_files_that_hold_no_mapping(tmp_path):
    for content in (b"", b"5", b"- 1", b"\xff\xfe", b"x" * (MAX_BYTES + 1)):
        (tmp_path / "a.yaml").write_bytes(content)
        with pytest.raises(InputError, match="a.yaml: "):
            read_mapping(tmp_path / "a.yaml")
    with pytest.raises(InputError, match="no such file"):
        read_mapping(tmp_path / "b.yaml")


def test_messages_stay_short_whatever_is_in_them():
    deep = ["x" * 1000]
    for _ in range(12):
        deep = [deep] * 9
    assert len(shown(deep)) < 1000
    message = str(InputError("a.yaml: " + "y" * 100_000 + " expected a number."))
    assert len(message) <= MAX_MESSAGE
    assert message.startswith("a.yaml: ") and message.endswith("expected a number.")


def test_the_place_of_a_mistake_is_told_in_one_line():
    with pytest.raises(InputError) as error:
        parse_yaml("a: 1\nb: [1, 2\nc: 3\n", "x.yaml")
    assert str(error.value).startswith("x.yaml: is not valid YAML: line 3, column 2: ")
    assert "\n" not in str(error.value)


def test_a_folder_is_no_broken_yaml(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_mapping(tmp_path)
