from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envbuilder.archive.plan import Part, Plan, about, find_plan, find_plan_of, folders_of, keep_plan
from envbuilder.store.local import Store
from tests.archive.conftest import DIGEST, example


def plan() -> Plan:
    parts = (
        Part(label="base", key=DIGEST, offset=0, size=10, folders=("bin", "lib")),
        Part(label="environment", key="", offset=10, size=5, folders=()),
    )
    return Plan(archive=DIGEST, about=about(example()), parts=parts)


def test_every_folder_above() -> None:
    assert folders_of(["a/b/c", "a/d", "e", "f/g/"]) == ("a", "a/b", "f")


def test_what_is_kept_is_found_by_the_whole_digest_and_its_beginning(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert find_plan(store, DIGEST) is None
    keep_plan(store, plan())
    assert find_plan(store, DIGEST) == plan()
    assert find_plan_of(store, DIGEST[:12]) == plan()
    assert find_plan_of(store, "cd" * 6) is None


def test_what_cannot_be_read_counts_as_not_there(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    keep_plan(store, replace(plan(), parts=(replace(plan().parts[0], key="no digest"),)))
    assert find_plan(store, DIGEST) is None


def test_an_image_says_what_the_manifest_does() -> None:
    said = about(replace(example(), pack={"level": 4, "uncompressed": True}))
    assert (said.recipe, said.architecture, said.level, said.uncompressed) == ("cpu", "amd64", 4, True)
