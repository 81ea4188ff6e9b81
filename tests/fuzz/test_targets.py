"""Every target runs, over its seeds and some mutations: one that has rotted finds nothing."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import random
from collections.abc import Sequence

import pytest

import tests.fuzz
from tests.fuzz.common import Target, mutations
from tests.fuzz.readers import READERS

MUTATIONS = 200
"""For each target. A number, not a time: the same inputs on every machine. More are a command: the targets' own."""
ALONE = {
    "certificate": "read_certificate",
    "deployment": "read_both",
    "imported": "read_mutated",
    "manifest": "read_manifest",
    "segment": "read_segment",
    "store_object": "read_object",
    "writer": "write_and_read",
    "zipdir": "read_zip",
}
"""Modules with a target of their own, which checks more than that nothing else is raised."""


def test_every_module_is_run_here() -> None:
    modules = {found.name for found in pkgutil.iter_modules(tests.fuzz.__path__)}
    assert modules - {"common", "readers", "test_targets"} == set(ALONE)


def _run(target: Target, seeds: Sequence[bytes], name: str) -> None:
    some = itertools.islice(mutations(seeds, random.Random(name)), 1 + len(seeds) + MUTATIONS)
    for data in some:
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data[:2000]!r}") from error


@pytest.mark.parametrize("name", READERS)
def test_a_reader(name: str) -> None:
    _run(READERS[name].target, READERS[name].seeds, name)


@pytest.mark.parametrize("name", ALONE)
def test_a_target(name: str) -> None:
    module = importlib.import_module(f"tests.fuzz.{name}")
    _run(getattr(module, ALONE[name]), module.SEEDS, name)


def test_a_seed_is_read() -> None:
    """Where all that a target is begun with is refused, its mutations get no further."""
    refused = {
        name
        for name, reader in READERS.items()
        if not any(_is_read(reader.read, seed) for seed in reader.seeds)
    }
    assert refused == {"timestamp"}  # none is made without an authority


def _is_read(read: object, seed: bytes) -> bool:
    assert callable(read)
    try:
        read(seed)
    except Exception:
        return False
    return True
