"""What this tool itself writes into an archive: rebuilt, and compared."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.elf import ElfFacts
from envbuilder.archive.extract import Contents
from envbuilder.archive.manifest import (
    ENVIRONMENT_PATH,
    Manifest,
    ManifestInterpreter,
    ManifestKept,
    ManifestPackage,
)
from envbuilder.archive.segment import Excluded, FileFacts
from envbuilder.assemble.packing import tools as own_tools
from envbuilder.errors import IntegrityError
from envbuilder.lockfile.digest import lock_digest
from envbuilder.verification.origin.expected import Contribution
from envbuilder.verification.origin.own import environment_files, manifest_differences, packing_of
from tests.helpers.environments import environment, manifest
from tests.helpers.small import Small
from tests.verification.origin.conftest import extracted

TREE = environment()
PACK: dict[str, Any] = {
    "bytecode": True,
    "level": 4,
    "uncompressed": False,
    "exclude": ["**/*.a", "*.own"],
}


def packed(**pack: Any) -> Manifest:
    return replace(manifest(TREE), pack={**PACK, **pack})


# -- how it was packed -----------------------------------------------------------------------------


def test_how_an_archive_was_packed_is_in_its_manifest() -> None:
    found = packing_of(packed(bytecode=False, level=7))
    assert (found.rules.bytecode, found.rules.level) == (False, 7)
    assert found.rules.exclude == ("**/*.a", "*.own")
    assert found.kept == {}


def test_files_that_stay_for_a_module_match_a_default_rule() -> None:
    kept = ManifestKept(path="lib/a/helper.a", imported_by="a")
    assert packing_of(replace(packed(), kept=(kept,))).kept == {"lib/a/helper.a": "a"}
    for path in ("lib/a/other.py", "lib/x.own"):
        with pytest.raises(IntegrityError) as raised:
            packing_of(replace(packed(), kept=(replace(kept, path=path),)))
        assert raised.value.message == f"kept: {path!r} is not excluded by the default rules"


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        ({"level": "4"}, "pack is {"),
        ({"level": True}, "pack is {"),
        ({"more": 1}, "pack is {"),
        ({"exclude": [1]}, "pack.exclude is not a list of up to 1000 patterns"),
        ({"exclude": ["x" * 1001]}, "pack.exclude is not a list of up to 1000 patterns"),
        ({"exclude": ["x"] * 1001}, "pack.exclude is not a list of up to 1000 patterns"),
        ({"exclude": ["*x" * 9]}, "has more than 8 wildcards"),
    ],
)
def test_options_that_no_build_writes(pack: dict[str, Any], said: str) -> None:
    with pytest.raises(IntegrityError) as raised:
        packing_of(packed(**pack))
    assert said in raised.value.message


# -- variables -------------------------------------------------------------------------------------


def test_the_file_of_variables_names_the_compiler_of_the_base() -> None:
    compiler = [
        FileFacts(f"bin/x86_64-conda-linux-gnu-{name}", 0o755, 1, "0" * 64) for name in ("gcc", "g++")
    ]
    base, bare = (Contribution(label="base", files=tuple(files)) for files in (compiler, ()))

    def made(base: Contribution | None, compiler: bool | None) -> list[str]:
        found = list(environment_files(base, compiler=compiler))
        assert all(file.path == ENVIRONMENT_PATH for one in found for file in one.files)
        return [file.sha256 for one in found for file in one.files]

    (plain,), (with_compiler,) = made(base, False), made(base, True)
    assert plain != with_compiler
    assert made(base, None) == [plain, with_compiler], "only the recipe knows"
    assert made(bare, None) == [plain]
    assert made(bare, True) == made(None, True) == []


# -- the manifest ----------------------------------------------------------------------------------


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    found, _ = extracted(TREE, tmp_path)
    return found


def test_a_manifest_that_is_true(contents: Contents) -> None:
    said = packed()
    tools = dict.fromkeys(own_tools(None), "1")
    true = replace(said, tools=tools)
    assert manifest_differences(true, None, contents, {}, None) == []
    assert manifest_differences(true, None, contents, {}, []) == []
    one = Excluded("**/tests/**", 2, 3)
    assert manifest_differences(true, None, contents, {}, [one]) == ["excluded"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("python", "3.11.8"),
        ("glibc", "2.17"),
        ("glibcxx", "3.4.1"),
        ("unpacked_size", 1),
        ("files", ()),
        ("tools", {"evil": "1"}),
        ("pack", {**PACK, "uncompressed": True}),
    ],
)
def test_a_field_that_is_not_so_is_named(contents: Contents, name: str, value: object) -> None:
    tools = dict.fromkeys(own_tools(None), "1")
    lying = replace(packed(), **{"tools": tools, name: value})  # type: ignore[arg-type]  # by name
    assert manifest_differences(lying, None, contents, {}, None) == [name]


def test_the_highest_version_that_an_elf_file_asks(contents: Contents) -> None:
    tools = dict.fromkeys(own_tools(None), "1")
    elf = {
        "a": ElfFacts(needs=(), glibc="2.9", glibcxx=None),
        "b": ElfFacts(needs=(), glibc="2.17", glibcxx="3.4.30"),
    }
    true = replace(packed(), tools=tools, glibc="2.17", glibcxx="3.4.30")
    assert manifest_differences(true, None, contents, elf, None) == []
    assert manifest_differences(replace(true, glibc="2.9"), None, contents, elf, None) == ["glibc"]


def test_what_the_lock_decides(contents: Contents, built_small: Small) -> None:
    lock = built_small.lock
    tools = dict.fromkeys(own_tools(None), "1")
    used = lock.interpreter
    true = replace(
        packed(),
        tools=tools,
        recipe=lock.recipe,
        recipe_digest=lock.recipe_digest,
        lock_digest=lock_digest(lock),
        release=lock.release,
        torch=lock.torch,
        cuda=lock.cuda,
        demands=lock.demands,
        python=used.version,
        interpreter=ManifestInterpreter(
            version=used.version, origin="another folder", digest=used.digest, locked_digest=used.digest
        ),
        packages=tuple(ManifestPackage(**asdict(one)) for one in lock.artifacts),
    )
    assert manifest_differences(true, lock, contents, {}, None) == []
    for name in ("recipe", "recipe_digest", "release", "torch", "cuda"):
        lie: dict[str, Any] = {name: "x"}
        assert manifest_differences(replace(true, **lie), lock, contents, {}, None) == [name]
    fewer = replace(true, packages=true.packages[1:])
    assert manifest_differences(fewer, lock, contents, {}, None) == ["packages"]
    # A lock that was rewritten since says nothing of the recipe's digest.
    rewritten = replace(true, lock_digest="9" * 64, recipe_digest="x")
    assert manifest_differences(rewritten, lock, contents, {}, None) == []
