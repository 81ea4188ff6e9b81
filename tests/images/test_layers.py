"""Which parts of an archive become which layer."""

from __future__ import annotations

import random

import pytest

from envbuilder.archive.plan import BASE, OWN, Part
from envbuilder.images.layers import MOST_LAYERS, OWN_LAYER, group_parts

LARGE, SMALL = 100, 400


def parts(sizes: dict[str, int]) -> list[Part]:
    found, offset = [], 0
    for label, size in sizes.items():
        found.append(Part(label=label, key=label, offset=offset, size=size, folders=()))
        offset += size
    return found


def environment(wheels: int) -> dict[str, int]:
    """Sizes of the parts of an environment with so many large wheels, and four times as many small ones."""
    noise = random.Random(7)
    large = {f"large{n}-1.0-py3-none-any.whl": OWN_LAYER + noise.randrange(10**9) for n in range(wheels)}
    small = {f"small_{n}-1.0-py3-none-any.whl": noise.randrange(1, OWN_LAYER) for n in range(4 * wheels)}
    return {BASE: 10**7, **dict(sorted({**large, **small}.items())), OWN: 10**4}


def layers(sizes: dict[str, int]) -> dict[str, tuple[tuple[str, int], ...]]:
    return {group.name: tuple((p.label, p.size) for p in group.parts) for group in group_parts(parts(sizes))}


@pytest.mark.parametrize("wheels", [0, 1, 20, 100])
def test_every_part_is_in_one_layer(wheels: int) -> None:
    sizes = environment(wheels)
    found = layers(sizes)
    assert len(found) == len(group_parts(parts(sizes))) <= MOST_LAYERS == 60
    assert next(iter(found)) == BASE
    assert [*found][-1] == OWN
    assert sorted(label for group in found.values() for label, _ in group) == sorted(sizes)


def test_a_change_of_one_wheel_changes_its_layer_and_the_last() -> None:
    sizes = environment(20)
    before = layers(sizes)
    for label in sizes:
        changed = {**sizes, label: sizes[label] + 1, OWN: sizes[OWN] + 1}
        after = layers(changed)
        assert sum(after[name] != group for name, group in before.items()) == (1 if label == OWN else 2)
    # So does another version of it, and one more small wheel.
    newer = {label.replace("small_3-1.0", "small_3-2.0"): size for label, size in sizes.items()}
    assert sum(layers(newer)[name] != group for name, group in before.items()) == 1
    more = {**sizes, "more-1.0-py3-none-any.whl": 5}
    assert sum(layers(more).get(name) != group for name, group in before.items()) == 1


def test_environments_with_the_same_wheel_share_its_layer() -> None:
    one, other = environment(20), environment(20)
    for label in [*other][5:60]:
        del other[label]
    shared = set(layers(one).items()) & set(layers(other).items())
    assert {name for name, _ in shared} >= {name for name in layers(other) if name.startswith("large")}
