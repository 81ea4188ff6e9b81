"""Evaluate licences against a policy: SPDX expressions and lists of allowed and denied identifiers."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.inventory.components import Component
from envbuilder.inventory.license import to_expression
from envbuilder.util.extras import needs_extra

Verdict = Literal["allowed", "refused", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The licences that an archive may have. A name may contain ``*``: ``GPL-*``, ``LicenseRef-NVIDIA-*``."""

    allow: tuple[str, ...] = ()
    """SPDX identifiers; empty: everything that is not denied."""
    deny: tuple[str, ...] = ()
    """SPDX identifiers."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Licences set by the user for packages that declare none or a wrong one: SPDX expressions by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The result for one component."""

    component: Component
    """Its licence is the one set by the user, if any."""
    verdict: Verdict
    """``unknown``: it has no valid licence, and the policy only has denied ones."""
    reason: str


def evaluate(components: Sequence[Component], policy: Policy) -> tuple[Evaluation, ...]:
    """Evaluate the licence of each component against *policy*.

    ``OR`` is allowed if one side is, ``AND`` if both are. An exception (``WITH``) counts as its licence, unless it
    is named itself.

    Raises:
        RecipeError: a licence set by the user is not an SPDX expression, or there is no such package.
    """
    decided = _decisions(components, policy)
    return tuple(_evaluate(decided.get(id(one), one), policy) for one in components)


def _decisions(components: Sequence[Component], policy: Policy) -> dict[int, Component]:
    decided = {}
    for name, said in policy.packages.items():
        expression = to_expression(said)
        if expression is None:
            raise RecipeError(
                f"{name}: {said!r} is not an SPDX expression", hint="for example MIT, or MIT OR Apache-2.0"
            )
        found = [one for one in components if canonicalize_name(one.name) == canonicalize_name(name)]
        if not found:
            raise RecipeError(f"a licence is set for {name}, which is not a package of the archive")
        for one in found:
            licence = replace(one.licence, expression=expression, source="decision")
            decided[id(one)] = replace(one, licence=licence)
    return decided


def _evaluate(component: Component, policy: Policy) -> Evaluation:
    licence = component.licence
    if licence.expression is None:
        said = (
            f"says {licence.declared!r}, which is not an SPDX expression"
            if licence.declared
            else "says no licence"
        )
        if _matches(licence.declared, policy.deny):
            return Evaluation(component=component, verdict="refused", reason=f"{said}; it is denied")
        verdict: Verdict = "refused" if policy.allow else "unknown"
        return Evaluation(component=component, verdict=verdict, reason=said)
    with needs_extra("proof", "envbuilder licences"):
        from license_expression import Licensing
    refused: list[str] = []
    if _fits(Licensing().parse(licence.expression), policy, refused):
        return Evaluation(component=component, verdict="allowed", reason="")
    names = ", ".join(dict.fromkeys(refused))
    why = "is denied" if any(_matches(name, policy.deny) for name in refused) else "is not allowed"
    terms = f" ({licence.terms})" if licence.terms else ""
    return Evaluation(component=component, verdict="refused", reason=f"{names}{terms} {why}")


def _fits(node: Any, policy: Policy, refused: list[str]) -> bool:
    from license_expression import AND, OR, LicenseWithExceptionSymbol

    if isinstance(node, (AND, OR)):
        # Evaluate each, so that all refused ones are reported.
        fitting = [_fits(one, policy, refused) for one in node.args]
        return all(fitting) if isinstance(node, AND) else any(fitting)
    whole = str(node)
    base = str(node.license_symbol) if isinstance(node, LicenseWithExceptionSymbol) else whole
    if whole != base and _matches(whole, policy.allow):
        return True
    denied = _matches(whole, policy.deny) or _matches(base, policy.deny)
    fits = not denied and (not policy.allow or _matches(whole, policy.allow) or _matches(base, policy.allow))
    if not fits:
        refused.append(whole)
    return fits


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
