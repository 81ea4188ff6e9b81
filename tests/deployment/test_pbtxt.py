from __future__ import annotations

import re

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from envbuilder.deployment import pbtxt
from envbuilder.deployment.pbtxt import TextFormatError, locate, quote, unquote

KEY = "EXECUTION_ENV_PATH"


def parse(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", []),
        ("# nothing\n", []),
        ("max_batch_size: 8", [("max_batch_size", "8")]),
        ("max_batch_size: - 8;", [("max_batch_size", "- 8")]),
        (
            "name: 'a' \"b\"\n'c', backend: \"x # no comment\"",
            [("name", "'a' \"b\"\n'c'"), ("backend", '"x # no comment"')],
        ),
        ('name: "a\\"}"', [("name", '"a\\"}"')]),
        ("dynamic_batching { }", [("dynamic_batching", "{ }")]),
        ("dynamic_batching: < >", [("dynamic_batching", "< >")]),
        ("input [ { dims: [ -1, 2 ] }, { dims: 1 } ]", [("input", "[ { dims: [ -1, 2 ] }, { dims: 1 } ]")]),
        ("input [] # none", [("input", "[]")]),
        ("a{b{c:1}}d:2", [("a", "{b{c:1}}"), ("d", "2")]),
    ],
)
def test_locate(text: str, fields: list[tuple[str, str]]) -> None:
    found = locate(text)
    assert [(field.name, text[field.value.start : field.value.end]) for field in found] == fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name", "ends too early"),
        ("a { b: 1", "ends too early"),
        ("a: [ 1, 2", "ends too early"),
        (": 1", "unexpected ':'"),
        ("a: }", "unexpected '}'"),
        ('a: "open', "unexpected '\"'"),
        ("a: %", "unexpected '%'"),
    ],
)
def test_locate_refuses(text: str, message: str) -> None:
    with pytest.raises(TextFormatError) as caught:
        locate(text)
    assert str(caught.value) == message


@given(st.text())
def test_quote_is_undone_by_unquote_and_by_protobuf(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    assert unquote(quote(value)) == value
    assert parse(f"name: {quote(value)}").name == value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'backend: "python"\n'),
        ("max_batch_size: 1", 'max_batch_size: 1\nbackend: "python"\n'),
        ("max_batch_size: 1 # last", 'max_batch_size: 1 # last\nbackend: "python"\n'),
        ('name: "n"', 'name: "n"\nbackend: "python"\n'),
        (
            'name: "n" # its name\nmax_batch_size: 1\n',
            'name: "n" # its name\nbackend: "python"\nmax_batch_size: 1\n',
        ),
        ('name: "n", max_batch_size: 1\n', 'name: "n", backend: "python" max_batch_size: 1\n'),
        ('name: "n"\r\nmax_batch_size: 1\r\n', 'name: "n"\r\nbackend: "python"\r\nmax_batch_size: 1\r\n'),
        ("backend: 'x' # why\n", 'backend: "python" # why\n'),
        ("backend: 'py' 'thon'\n", "backend: 'py' 'thon'\n"),
    ],
)
def test_set_string(before: str, after: str) -> None:
    assert pbtxt.set_string(before, "backend", "python", after=("name",)) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("max_batch_size: 1\n", "max_batch_size: 1\n"),
        ('platform: "p"\nmax_batch_size: 1\n', "max_batch_size: 1\n"),
        ('max_batch_size: 1\nplatform: "p"', "max_batch_size: 1\n"),
        ('platform: "p" # why\nmax_batch_size: 1\n', "# why\nmax_batch_size: 1\n"),
        ('max_batch_size: 1 platform: "p"\n', "max_batch_size: 1\n"),
        ('max_batch_size: 1, platform: "p"; name: "n"\n', 'max_batch_size: 1, name: "n"\n'),
        ('  platform:\n  "p"\nmax_batch_size: 1\n', "max_batch_size: 1\n"),
    ],
)
def test_remove(before: str, after: str) -> None:
    assert pbtxt.remove(before, "platform") == after


ENTRY = f'parameters {{\n  key: "{KEY}"\n  value {{ string_value: "new" }}\n}}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ENTRY),
        ("max_batch_size: 1", f"max_batch_size: 1\n{ENTRY}"),
        (ENTRY.replace("new", "old"), ENTRY),
        (
            f"parameters: < key: '{KEY}' value: < string_value: 'old' > >",
            f"parameters: < key: '{KEY}' value: < string_value: \"new\" > >",
        ),
        (
            f'parameters {{ value {{ string_value: "old" }} key: "{KEY}" }}',
            f'parameters {{ value {{ string_value: "new" }} key: "{KEY}" }}',
        ),
        (f'parameters {{ key: "{KEY}" }}', f'parameters {{ key: "{KEY}" value {{ string_value: "new" }} }}'),
        (
            f'parameters {{ key: "{KEY}" value {{ }} }}',
            f'parameters {{ key: "{KEY}" value {{ string_value: "new" }} }}',
        ),
        (
            f'parameters [ {{ key: "A" }}, # a\n {{ key: "{KEY}" value {{ string_value: "old" }} }} ]',
            f'parameters [ {{ key: "A" }}, # a\n {{ key: "{KEY}" value {{ string_value: "new" }} }} ]',
        ),
        (f"# one\n{ENTRY}# two\n{ENTRY.replace('new', 'old')}# three\n", f"# one\n{ENTRY}# two\n# three\n"),
        (
            f"parameters {{ key: '{KEY}' value {{ string_value: 'n' 'ew' }} }}",
            f"parameters {{ key: '{KEY}' value {{ string_value: 'n' 'ew' }} }}",
        ),
    ],
)
def test_set_parameter(before: str, after: str) -> None:
    assert pbtxt.set_parameter(before, KEY, "new") == after
    assert pbtxt.set_parameter(after, KEY, "new") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('parameters { key: "A" }\n', 'parameters { key: "A" }\n'),
        (f'max_batch_size: 1\n{ENTRY}name: "n"\n', 'max_batch_size: 1\nname: "n"\n'),
        (f'parameters [ {{ key: "{KEY}" }} ]\nname: "n"\n', 'name: "n"\n'),
        (f'parameters [ {{ key: "{KEY}" }}, {{ key: "A" }} ]\n', 'parameters [ { key: "A" } ]\n'),
        (f'parameters [ {{ key: "A" }}, {{ key: "{KEY}" }} ]\n', 'parameters [ { key: "A" } ]\n'),
        (
            f'parameters [\n  {{ key: "A" }}, # a\n  {{ key: "{KEY}" }},\n  {{ key: "B" }}\n]\n',
            'parameters [\n  { key: "A" }, # a\n  { key: "B" }\n]\n',
        ),
    ],
)
def test_remove_parameter(before: str, after: str) -> None:
    assert pbtxt.remove_parameter(before, KEY) == after


# -- any configuration ---------------------------------------------------------------------------------------------

comments = st.from_regex(r"#[ -~]{0,20}\n", fullmatch=True)
gaps = st.one_of(st.sampled_from([" ", "\n", "\r\n", "\t", "  \n\n"]), comments.map(lambda text: " " + text))
values = st.sampled_from(['"old"', "'old'", '"o" "ld"', '"a\\"b # }"', '"new"'])


@st.composite
def entries(draw: st.DrawFn) -> str:
    key = draw(st.sampled_from([KEY, "A", "B"]))
    opening, closing = draw(st.sampled_from([("{", "}"), ("<", ">")]))
    value = f"value: {opening} string_value: {draw(values)} {closing}"
    parts = [f"key: '{key}'", draw(st.sampled_from([value, value, "value { }"]))]
    separator = draw(st.sampled_from([" ", ", ", "; ", "\n  "]))
    return f"{opening} {separator.join(draw(st.permutations(parts)))} {closing}"


@st.composite
def parameters(draw: st.DrawFn) -> str:
    colon = draw(st.sampled_from(["", ":", " : "]))
    if draw(st.booleans()):
        return f"parameters{colon} {draw(entries())}"
    items = draw(st.lists(entries(), max_size=3))
    return f"parameters{colon} [ {draw(st.sampled_from([', ', ',', ' , ']).map(lambda comma: comma.join(items)))} ]"


@st.composite
def configs(draw: st.DrawFn) -> str:
    once = {
        "name": 'name: "n"',
        "platform": f"platform: {draw(st.sampled_from([chr(34) + 'pytorch' + chr(34), chr(39) * 2]))}",
        "backend": f"backend: {draw(values)}",
        "max_batch_size": "max_batch_size: 8",
        "input": 'input [ { name: "platform" # platform\n data_type: TYPE_FP32 dims: [ -1, 3 ] } ]',
        "dynamic_batching": "dynamic_batching < >",
    }
    chosen = draw(st.lists(st.sampled_from(sorted(once)), unique=True))
    fields = [*(once[name] for name in chosen), *draw(st.lists(parameters(), max_size=3))]
    text = draw(gaps)
    for field in draw(st.permutations(fields)):
        text += field + draw(st.sampled_from(["", ",", ";", " ,"])) + draw(gaps)
    return text.rstrip(" ") if draw(st.booleans()) else text


def comments_of(text: str) -> list[str]:
    """The comments, found without the code under test: what no string holds."""
    bare = re.sub(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|(#[^\n]*)", lambda found: found[1] or "", text)
    return [comment.strip() for comment in re.findall(r"#[^\n]*", bare)]


@settings(deadline=None)
@given(configs())
def test_edits_change_what_is_asked_for_and_nothing_else(text: str) -> None:
    expected = parse(text)
    expected.backend = "new"
    expected.platform = ""
    if KEY in expected.parameters:
        del expected.parameters[KEY]
    without = pbtxt.remove_parameter(
        pbtxt.set_string(pbtxt.remove(text, "platform"), "backend", "new", after=("name",)), KEY
    )
    assert parse(without) == expected

    expected.parameters[KEY].string_value = "new"
    edited = pbtxt.set_parameter(
        pbtxt.set_string(pbtxt.remove(text, "platform"), "backend", "new", after=("name",)), KEY, "new"
    )
    assert parse(edited) == expected
    assert len(re.findall(f"['\"]{KEY}['\"]", edited)) == 1
    assert pbtxt.set_parameter(pbtxt.set_string(edited, "backend", "new"), KEY, "new") == edited

    for result in (without, edited):
        assert comments_of(result) == comments_of(text)
        untouched = [
            text[field.start : field.value.end]
            for field in locate(text)
            if field.name not in ("backend", "platform", "parameters")
        ]
        at = 0
        for part in untouched:
            at = result.index(part, at) + len(part)
