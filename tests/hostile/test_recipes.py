"""Recipes that somebody else wrote, in each verb that reads one: YAML that would run, or fill memory, or the screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.hostile import Room, refused

HEAD = b'triton: "25.06"\npython: "3.12"\ntorch: "2.7.1"\ncuda: cpu\n'
INVISIBLE = "control and invisible characters are not allowed in recipes"
NOT_ALLOWED = " invalid YAML: unacceptable character #x00{}: special characters are not allowed"
CASES: dict[str, tuple[bytes, str]] = {
    # -- what YAML can do besides
    "a tag of Python's": (
        b"triton: !!python/object/apply:os.system ['touch pwned']\n",
        "1: tags (!) are not allowed in recipes",
    ),
    "a tag": (b"triton: !x 1\n", "1: tags (!) are not allowed in recipes"),
    "aliases by the billion": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\n",
        "1: anchors and aliases (&, *) are not allowed in recipes; repeat the value",
    ),
    "a merge": (b"<<: {triton: x}\n" + HEAD, "1: unknown key `<<`"),
    "a directive": (b"%YAML 1.1\n---\n" + HEAD, "2: YAML directives (%) are not allowed in recipes"),
    "a second document": (
        HEAD + b"---\n" + HEAD,
        "5: found a second document; a recipe is a single document",
    ),
    "a key that is a list": (HEAD + b"? [a]\n: b\n", "5: expected a word as a key"),
    "a key twice": (HEAD + b"cuda: cu126\n", "5: the key `cuda` is duplicated (first at line 4)"),
    "a code point that there is not": (
        HEAD + b'dependencies: ["\\UFFFFFFFF"]\n',
        " invalid YAML: Python int too large to convert to C int",
    ),
    # -- memory and the stack
    "5000 lists in each other": (
        HEAD + b"dependencies: " + b"[" * 5000,
        "5: nested more than 16 levels deep, the limit for recipes",
    ),
    "200 tables in each other": (
        HEAD + b"\n".join(b" " * n + b"a:" for n in range(200)),
        "21: nested more than 16 levels deep, the limit for recipes",
    ),
    "300 kB": (b"#" + b"x" * 300_000, " larger than 256 KiB, the limit for recipes"),
    "20,000 values": (
        HEAD + b"dependencies:\n" + b"- a\n" * 20_000,
        "9995: more than 10000 values, the limit for recipes",
    ),
    "a number of 5000 digits": (
        HEAD + b"model: " + b"9" * 5000 + b"\n",
        "5: a text of 5000 characters: more than 4000, the limit for recipes",
    ),
    "900 brackets in a marker": (
        HEAD + b'dependencies: ["a; ' + b"(" * 900 + b"python_version>'3'" + b")" * 900 + b'"]\n',
        '5: "a; ' + "(" * 250,
    ),
    # -- what is no text
    "nothing": (b"", "1: is empty"),
    "NUL": (HEAD + b"dependencies: ['a\0b']\n", NOT_ALLOWED.format("00")),
    "UTF-16": (HEAD.decode().encode("utf-16"), "1: is not UTF-8 text"),
    "Latin-1": (HEAD + b"# \xe9\n", "5: is not UTF-8 text"),
    "ESC": (HEAD + b'dependencies: ["\x1b[2J"]\n', NOT_ALLOWED.format("1b")),
    "ESC, written": (HEAD + b'dependencies: ["\\e[2J"]\n', rf"5: '\u001b[2J': {INVISIBLE}"),
    "text that runs backwards": (
        HEAD + 'dependencies: ["a\u202eb"]\n'.encode(),
        rf"5: 'a\u202eb': {INVISIBLE}",
    ),
    "a lone surrogate": (HEAD + b'dependencies: ["\\ud800"]\n', rf"5: '\ud800': {INVISIBLE}"),
    # -- what would go elsewhere
    "an option for uv": (
        HEAD + b"dependencies: ['--index-url=http://x']\n",
        "5: '--index-url=http://x' is not a requirement (PEP 508): Expected package name at the start of "
        "dependency specifier",
    ),
    "an option on a line of its own": (
        HEAD + b'dependencies: ["x\\n--index-url http://x"]\n',
        rf"5: 'x\n--index-url http://x': {INVISIBLE}",
    ),
    "a file of this machine": (
        HEAD + b"dependencies: ['x @ file:///etc/passwd']\n",
        "5: 'x @ file:///etc/passwd' is neither a wheel nor a folder, and only wheels can be pinned by hash",
    ),
    "a transport of Git's that runs": (
        HEAD + b"dependencies: ['x @ git+ext::sh -c touch% pwned']\n",
        "5: 'x @ git+ext::sh -c touch% pwned' is not a requirement (PEP 508): "
        "Expected semicolon (after URL and whitespace) or end",
    ),
    "an option in the place of a version": (
        HEAD.replace(b'"3.12"', b'"--help"'),
        "2: `python` is '--help', but Triton 25.06 has a stub for 3.12 only",
    ),
    "a path in the place of a release": (
        HEAD.replace(b'"25.06"', b'"../25.06"'),
        "1: unknown Triton release '../25.06'; expected YY.MM from 23.08 on, or pytriton-0.7.0",
    ),
    "a command in the place of a build": (HEAD.replace(b"cpu", b"'$(id)'"), "4: `cuda` is '$(id)'"),
    "a name of its own": (HEAD + b"name: ../../x\n", "5: unknown key `name`"),
}
VERBS: dict[str, tuple[str, ...]] = {
    "lock": ("lock", "x"),
    "lock --check": ("lock", "--check"),
    "build": ("build", "x"),
    "diff": ("diff", "x", "x"),
    "push": ("push", "x"),
    "pull": ("pull", "x"),
}
IN_EACH = ("aliases by the billion", "a code point that there is not", "ESC, written")
"""The reader is one: what is of three kinds goes through every verb."""


def _write(room: Room, case: str) -> Path:
    path = room.work / "recipes" / "x.yaml"
    path.parent.mkdir()
    path.write_bytes(CASES[case][0])
    (room.work / "envbuilder.toml").write_text(
        f'no-index = true\nstore = "{(room.work / "there").as_uri()}"\n'
    )
    return path


def _check(room: Room, case: str, verb: str) -> None:
    path = _write(room, case)
    outcome = room.run(*VERBS[verb], memory=600 * 10**6)
    refused(outcome, 2, re.compile(re.escape(f"error: {path}:{CASES[case][1]}") + ".*"))


@pytest.mark.parametrize("case", CASES)
def test_a_recipe_is_refused(room: Room, case: str) -> None:
    _check(room, case, "lock")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "lock"])
@pytest.mark.parametrize("case", IN_EACH)
def test_every_verb_refuses(room: Room, case: str, verb: str) -> None:
    _check(room, case, verb)
