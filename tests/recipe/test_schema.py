from __future__ import annotations

from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from envbuilder.recipe.load import schema
from envbuilder.recipe.schema import KEYS, SCHEMA_FILE, schema_text
from envbuilder.util.resources import shipped_recipes
from tests.recipe.conftest import PLAIN, refuse

BAD: dict[str, tuple[str | bytes, str, str | None]] = {
    "unknown key": (
        PLAIN + "dependancies: [numpy]\n",
        ":4: unknown key `dependancies`, did you mean `dependencies`?",
        f"known keys: {', '.join(KEYS)}",
    ),
    "unknown inner key": (
        PLAIN + "pack:\n  level: 3\n  bytcode: true\n",
        ":6: unknown key `pack.bytcode`, did you mean `pack.bytecode`?",
        "known keys: bytecode, level, uncompressed, exclude",
    ),
    "a key that resembles none": (
        PLAIN + "xyzzy: 1\n",
        ":4: unknown key `xyzzy`",
        f"known keys: {', '.join(KEYS)}",
    ),
    "missing key": (
        'triton: "25.06"\ncuda: cpu\n',
        ":1: missing key `torch`",
        "the version of torch, without a local part",
    ),
    "a list instead of a mapping": (
        "- a\n- b\n",
        ":1: a recipe is a list, not a mapping of keys to values",
        None,
    ),
    "a number that YAML reads its own way": (
        PLAIN.replace('"25.06"', "25.10"),
        ":1: `triton` is the number 25.1, not a text",
        'YAML parses 3.10 as 3.1: write it in quotes, triton: "25.10"',
    ),
    "a mapping instead of a text": (
        PLAIN.replace("cu126", "{a: b}"),
        ":3: `cuda` is a mapping, not a text",
        None,
    ),
    "an empty value": (PLAIN.replace("cu126", ""), ":3: `cuda` is empty, not a text", None),
    "a text instead of a list": (
        PLAIN + "dependencies: numpy\n",
        ":4: `dependencies` is the text 'numpy', not a list",
        None,
    ),
    "a number in a list": (
        PLAIN + "dependencies:\n  - numpy\n  - 3\n",
        ":6: `dependencies[1]` is the number 3, not a text",
        None,
    ),
    "a text instead of true": (
        PLAIN + "pack: {bytecode: yes}\n",
        ":4: `pack.bytecode` is the text 'yes', not true or false",
        None,
    ),
    "a level too high": (PLAIN + "pack: {level: 10}\n", ":4: `pack.level` is 10, expected 0 to 9", None),
    "no date": (
        PLAIN + "exclude-newer: soon\n",
        ":4: `exclude-newer` is the text 'soon', not a date (2026-10-01)",
        None,
    ),
    "no day of any calendar": (
        PLAIN + "exclude-newer: 2026-13-40\n",
        ":4: `exclude-newer` is the text '2026-13-40', not a date (2026-10-01)",
        None,
    ),
    "a key twice": (
        PLAIN + 'torch: "2.8.0"\n',
        ":4: the key `torch` is duplicated (first at line 2)",
        None,
    ),
    "a tab": (PLAIN + "pack:\n\tlevel: 3\n", ":5: found a tab; YAML is indented with spaces", None),
    "two documents": (
        PLAIN + "---\n" + PLAIN,
        ":4: found a second document; a recipe is a single document",
        None,
    ),
    "an empty file": ("", ":1: is empty", "`envbuilder init NAME` writes a recipe to start from"),
    "only comments": ("# nothing\n", ":1: is empty", "`envbuilder init NAME` writes a recipe to start from"),
    "no YAML": (
        PLAIN + "pack: {level: 3\n",
        ":5: invalid YAML: while parsing a flow mapping expected ',' or '}', but got '<stream end>'",
        None,
    ),
    "not UTF-8": (PLAIN.encode() + b"# \xff\n", ":4: is not UTF-8 text", None),
    "a bomb of aliases": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        ":1: anchors and aliases (&, *) are not allowed in recipes; repeat the value",
        None,
    ),
    "a bomb of depth": (
        "a: " + "[" * 500 + "]" * 500,
        ":1: nested more than 16 levels deep, the limit for recipes",
        None,
    ),
    "a bomb of values": (
        "a: [" + "1," * 20_000 + "]",
        ":1: more than 10000 values, the limit for recipes",
        None,
    ),
    "a bomb of bytes": ("a: " + "x" * 300_000, ": larger than 256 KiB, the limit for recipes", None),
    "a tag": ("triton: !!python/object:os.system {}\n", ":1: tags (!) are not allowed in recipes", None),
    "a directive": ("%YAML 1.1\n---\n" + PLAIN, ":2: YAML directives (%) are not allowed in recipes", None),
    "no release of Triton": (
        PLAIN.replace("25.06", "25.13"),
        ":1: unknown Triton release '25.13'; expected YY.MM from 23.08 on, or pytriton-0.7.0",
        "nearest: 25.08, 25.06, 24.11",
    ),
    "no version": (
        PLAIN.replace("2.7.1", "latest"),
        ":2: `torch` is 'latest', which is not a version",
        'use an exact one, for example torch: "2.11.0"',
    ),
    "a local version": (
        PLAIN.replace("2.7.1", "2.7.1+cu126"),
        ":2: `torch` is '2.7.1+cu126': set the build with `cuda`, not with a local version",
        'torch: "2.7.1" with cuda: cu126',
    ),
    "a nightly": (
        PLAIN.replace("2.7.1", "2.8.0.dev20250601"),
        ":2: `torch` is '2.8.0.dev20250601'; only releases (X.Y.Z) can be locked permanently",
        None,
    ),
    "a CUDA in other words": (
        PLAIN.replace("cu126", "cuda12.6"),
        ":3: `cuda` is 'cuda12.6', did you mean `cu126`?",
        "cpu, cuXYZ as in cu126, or pypi (the index's own build)",
    ),
    "a torch that never was": (
        PLAIN.replace("2.7.1", "2.7.9"),
        ":2: there is no torch 2.7.9",
        "nearest: 2.7.1, 2.7.0, 2.6.0",
    ),
    "an impossible pair": (
        PLAIN.replace("cu126", "cu130"),
        ":3: torch 2.7.1 was never built for cu130 (it was for cpu, cu118, cu126, cu128, pypi)",
        "nearest: torch 2.7.1 with cu128, or torch 2.9.1 with cu130",
    ),
    "a Python that torch has no wheel for": (
        PLAIN.replace("2.7.1", "2.1.2").replace("cu126", "cu121"),
        ":2: torch 2.1.2 has no wheel for Python 3.12 (it has for 3.8, 3.9, 3.10, 3.11)",
        "nearest: torch 2.2.2 for Python 3.12, or torch 2.1.2 for Python 3.11",
    ),
    "a Python that the release has no stub for": (
        PLAIN + 'python: "3.11"\n',
        ":4: `python` is '3.11', but Triton 25.06 has a stub for 3.12 only",
        "omit `python`",
    ),
    "an unknown compiler": (
        PLAIN + "compiler: sytem\n",
        ":4: `compiler` is 'sytem', did you mean `system`?",
        "possible: none, system, bundled",
    ),
    "something endless": (
        PLAIN + f"pack: {{level: {'x' * 1000}}}\n",
        f":4: `pack.level` is the text '{'x' * 274}…",
        None,
    ),
    "no requirement": (
        PLAIN + 'dependencies: ["numpy =< 2"]\n',
        ":4: 'numpy =< 2' is not a requirement (PEP 508): Expected semicolon (after name with no version specifier) "
        "or end",
        None,
    ),
    "torch among the dependencies": (
        PLAIN + "dependencies: [torch]\n",
        ":4: torch among `dependencies`",
        "set its version with `torch`, and its build with `cuda`",
    ),
    "a local folder": (
        PLAIN + 'dependencies: ["mine @ ./mine"]\n',
        ":4: 'mine @ ./mine': there is no folder {folder}/mine",
        None,
    ),
    "a file that is no wheel": (
        PLAIN + "dependencies: [./mine.whl]\n",
        ":4: './mine.whl' is no wheel: Invalid wheel filename (wrong number of parts): 'mine'",
        None,
    ),
    "a wheel of another project": (
        PLAIN + 'dependencies: ["mine @ ./x-1.0-py3-none-any.whl"]\n',
        ":4: 'mine @ ./x-1.0-py3-none-any.whl': the wheel is one of x",
        None,
    ),
    "an archive that is no wheel": (
        PLAIN + 'dependencies: ["mine @ https://example.org/mine-1.0.tar.gz"]\n',
        ":4: '/mine-1.0.tar.gz' is no wheel: Invalid wheel filename (extension must be '.whl'): 'mine-1.0.tar.gz'",
        None,
    ),
    "a reference of another kind": (
        PLAIN + 'dependencies: ["mine @ hg+https://example.org/x"]\n',
        ":4: 'mine @ hg+https://example.org/x': expected git+https:, git+ssh:, https:, "
        "a local wheel, or a local folder",
        None,
    ),
    "an answer to nothing": (
        PLAIN + "verify: {expected: y.npz}\n",
        ":4: `verify.expected` requires `verify.inputs`, for which it contains the answers",
        None,
    ),
    "a tolerance of nothing": (
        PLAIN + "verify: {rtol: 0.1}\n",
        ":4: `verify.rtol` requires `verify.inputs` and `verify.expected`",
        None,
    ),
    "a tolerance that is none": (
        PLAIN + "verify: {inputs: x.npz, atol: -1}\n",
        ":4: `verify.atol` is the number -1, not a number from 0 on",
        None,
    ),
    "mode with options": (
        PLAIN + "verify: {compile: {mode: default, options: {}}}\n",
        ":4: `verify.compile.mode` and `verify.compile.options` exclude each other",
        None,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipe(tmp_path: Path, case: str) -> None:
    text, message, hint = BAD[case]
    assert refuse(tmp_path, text) == (message.replace("{folder}", str(tmp_path)), hint)


def test_the_schema_for_editors_is_current() -> None:
    kept = (shipped_recipes() / SCHEMA_FILE).read_text()
    assert kept == schema_text(), f"recipes/{SCHEMA_FILE} must be what schema_text() says"
    jsonschema.Draft202012Validator.check_schema(schema())
