from __future__ import annotations

import pytest

from envbuilder.errors import RecipeError
from envbuilder.inventory.policy import Policy, evaluate
from tests.helpers.inventories import CUDA_EULA, Package, inventory


def verdict(expression: str, *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> tuple[str, str]:
    package = Package(name="alpha", headers=[f"License-Expression: {expression}"] if expression else [])
    return verdict_of(package, Policy(allow=allow, deny=deny))


def verdict_of(package: Package, policy: Policy) -> tuple[str, str]:
    (found,) = evaluate([one for one in inventory(package).components if one.name == package.name], policy)
    return found.verdict, found.reason


@pytest.mark.parametrize(
    ("expression", "allow", "deny", "expected"),
    [
        ("MIT", (), (), ("allowed", "")),
        ("MIT", ("MIT",), (), ("allowed", "")),
        ("MIT", ("mit",), (), ("allowed", "")),
        ("MIT", ("BSD-*",), (), ("refused", "MIT is not allowed")),
        ("MIT", ("MIT",), ("MIT",), ("refused", "MIT is denied")),
        ("MIT OR GPL-3.0-only", ("MIT",), (), ("allowed", "")),
        ("MIT OR GPL-3.0-only", (), ("GPL-*",), ("allowed", "")),
        ("MIT AND GPL-3.0-only", ("MIT",), (), ("refused", "GPL-3.0-only is not allowed")),
        ("MIT AND GPL-3.0-only", (), ("GPL-*",), ("refused", "GPL-3.0-only is denied")),
        (
            "(GPL-2.0-only OR LGPL-2.1-only) AND MIT",
            (),
            ("*GPL-*",),
            ("refused", "GPL-2.0-only, LGPL-2.1-only is denied"),
        ),
        ("MIT AND (GPL-2.0-only OR Apache-2.0)", ("MIT", "Apache-2.0"), (), ("allowed", "")),
        # An exception is one of its licence, and may be named.
        ("Apache-2.0 WITH LLVM-exception", ("Apache-2.0",), (), ("allowed", "")),
        (
            "GPL-3.0-only WITH GCC-exception-3.1",
            (),
            ("GPL-*",),
            ("refused", "GPL-3.0-only WITH GCC-exception-3.1 is denied"),
        ),
        (
            "GPL-3.0-only WITH GCC-exception-3.1",
            ("MIT", "GPL-3.0-only WITH GCC-exception-3.1"),
            ("GPL-*",),
            ("allowed", ""),
        ),
        ("", ("MIT",), (), ("refused", "says no licence")),
        ("", (), ("GPL-*",), ("unknown", "says no licence")),
        (
            "Free for friends",
            ("MIT",),
            (),
            ("refused", "says 'Free for friends', which is not an SPDX expression"),
        ),
        (
            "Free for friends",
            (),
            ("*friends*",),
            ("refused", "says 'Free for friends', which is not an SPDX expression; it is denied"),
        ),
    ],
)
def test_verdicts(
    expression: str, allow: tuple[str, ...], deny: tuple[str, ...], expected: tuple[str, str]
) -> None:
    assert verdict(expression, allow=allow, deny=deny) == expected


def test_nvidias_terms_are_named_where_they_are_refused() -> None:
    package = Package(
        name="nvidia-x",
        headers=["License: NVIDIA Proprietary Software"],
        licences={"License.txt": CUDA_EULA},
    )
    assert verdict_of(package, Policy(deny=("LicenseRef-NVIDIA-*",))) == (
        "refused",
        "LicenseRef-NVIDIA-CUDA-Toolkit-EULA (NVIDIA CUDA Toolkit End User License Agreement) is denied",
    )
    assert verdict_of(package, Policy(allow=("LicenseRef-NVIDIA-CUDA-*",)))[0] == "allowed"


def test_what_a_person_decided_counts() -> None:
    package = Package(name="Alpha_Beta", headers=["License: Free for friends"])
    policy = Policy(allow=("MIT",), packages={"alpha-beta": "mit"})
    (found,) = evaluate(inventory(package).components[1:], policy)
    assert (found.verdict, found.component.licence.source) == ("allowed", "decision")
    assert found.component.licence.declared == "Free for friends"


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ({"alpha": "Free for friends"}, "alpha: 'Free for friends' is not an SPDX expression"),
        ({"gone": "MIT"}, "a licence is set for gone, which is not a package of the archive"),
    ],
)
def test_a_decision_that_decides_nothing_is_refused(packages: dict[str, str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        evaluate(inventory(Package(name="alpha")).components, Policy(packages=packages))
    assert caught.value.message == said
