"""Resolve the wheels of a recipe, by hash."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from packaging.pylock import Package
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envbuilder.base.providers import LockedBase
from envbuilder.catalog.torch import find_build, is_newer_than_table, table
from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.lockfile.model import Artifact, Lock, LockedConda
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.built_wheels import Builder, hold_reference
from envbuilder.resolve.closed_index import find_closed
from envbuilder.resolve.conda_provided import check_names, write_stand_ins
from envbuilder.resolve.numpy_abi import Clash, find_clashes
from envbuilder.resolve.solver import Index, NoSolution, Question, Unreachable, solve, uv_version
from envbuilder.resolve.sources import Plan
from envbuilder.resolve.target import Target
from envbuilder.resolve.wheel_size import size_of
from envbuilder.resolve.wheelhouse import read_wheelhouses
from envbuilder.store.session import Session
from envbuilder.util.rattler import rattler_version
from envbuilder.util.urls import redacted

_ROUNDS = 8
"""Most runs of the solver, each with findings of the previous one."""


def resolve(
    recipe: Recipe,
    session: Session,
    base: LockedBase,
    *,
    previous: Lock | None,
    upgrade: Upgrade = Upgrade(),
) -> Lock:
    """Find the artifacts that satisfy *recipe* on *base*, without wheels of projects that the base provides.

    Versions in *previous* are kept if they still fit, except those in *upgrade*.

    Raises:
        ResolveError: there are none, or an index does not respond; the message says why.
    """
    interpreter, conda = base.interpreter, base.packages
    target = Target(python=interpreter.version, glibc=recipe.release.wheel_glibc)
    if is_newer_than_table(recipe.torch):
        newest = table()[-1].version
        session.reporter.note(
            f"torch {recipe.torch} is newer than the known versions (up to {newest}): not checked"
        )
    build = find_build(recipe.torch)
    own = (
        f" (the package index's own, CUDA {build.pypi})"
        if build is not None and recipe.cuda == "pypi"
        else ""
    )
    session.reporter.step(
        f"Resolving recipe {recipe.name}: Triton {recipe.release.name}, Python {target.minor}, "
        f"torch {recipe.torch_version}{own}"
    )
    renewed = {canonicalize_name(name) for name in upgrade.packages}
    references = _git_references(recipe.dependencies)
    held = {
        name: url if upgrade.everything or name in renewed else hold_reference(name, url, previous)
        for name, url in references.items()
    }
    with session.store.scratch("wheelhouses") as scratch:
        stand_ins = scratch / "conda"
        stand_ins.mkdir()
        there = write_stand_ins(base.provided, stand_ins)
        check_names(recipe, there)
        plan = Plan(
            recipe=recipe,
            dependencies=tuple(_with_reference(text, held) for text in recipe.dependencies),
            settings=session.settings,
            target=target,
            houses=read_wheelhouses(session, scratch),
            provided=there,
            stand_ins=Index(name="conda", url=stand_ins.as_uri(), flat=True) if there else None,
        )
        builder = Builder(
            session=session,
            indexes=plan.package_indexes(),
            target=target,
            interpreter=interpreter,
            references=references,
            previous=previous,
        )
        question = replace(
            plan.question(),
            previous=previous,
            upgrade=upgrade.everything,
            upgrade_packages=tuple(sorted(renewed)),
        )
        packages = [p for p in _ask_for_numpy(plan, question, builder) if p.name not in there]
        artifacts, built = _artifacts(packages, builder)
    torch = _check_torch(recipe, artifacts, there)
    return Lock(
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        release=recipe.release.name,
        python=recipe.python,
        torch=torch,
        cuda=recipe.cuda,
        demands=(
            *recipe.release.demands,
            *(recipe.release.conda_requirements(recipe.python) if conda else ()),
        ),
        artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.name)),
        interpreter=interpreter,
        tools=((("py-rattler", rattler_version()),) if conda else ()) + (("uv", uv_version()),),
        built=built,
        conda=LockedConda(packages=conda, provides=tuple(sorted(there.items()))) if conda else None,
    )


def _git_references(dependencies: Iterable[str]) -> dict[str, str]:
    requirements = [Requirement(text) for text in dependencies]
    return {
        canonicalize_name(requirement.name): requirement.url
        for requirement in requirements
        if requirement.url is not None and requirement.url.startswith("git+")
    }


def _with_reference(dependency: str, held: Mapping[str, str]) -> str:
    requirement = Requirement(dependency)
    requirement.url = held.get(canonicalize_name(requirement.name), requirement.url)
    return str(requirement)


# -- asking ----------------------------------------------------------------------------------------


def _ask_for_numpy(plan: Plan, question: Question, builder: Builder) -> list[Package]:
    """Ask until every wheel in the answer runs with the NumPy in it: not each one says in its metadata which it needs.

    Raises:
        ResolveError: see :func:`_ask`; or no version of a wheel runs with the NumPy that is demanded.
    """
    found: list[Clash] = []
    while True:
        try:
            packages = _ask(plan, question, builder)
        except ResolveError as error:
            if not found:
                raise
            raise _no_numpy(found, plan, error) from error
        clashes = find_clashes(packages, plan.provided.get("numpy"), plan.target, builder.session)
        if not clashes:
            return packages
        for clash in clashes:
            builder.session.reporter.note(
                f"{clash.name} {clash.version} is built for {clash.needs}: solving again with {clash.constraint}"
            )
        found += clashes
        constraints = (clash.constraint for clash in clashes)
        question = replace(question, constraints=tuple(dict.fromkeys([*question.constraints, *constraints])))


def _no_numpy(clashes: Sequence[Clash], plan: Plan, error: ResolveError) -> ResolveError:
    """Return the error that no version runs with the required NumPy."""
    recipe, last = plan.recipe, clashes[-1]
    demands = [demand for demand in recipe.release.demands if Requirement(demand).specifier]
    why = (
        f"Triton {recipe.release.name} demands {', '.join(demands)}"
        if demands
        else "the recipe requires a different one"
    )
    return ResolveError(
        f"recipe {recipe.name}: {last.name} {last.version} is built for {last.needs}, {why}, and no other version "
        f"fits:\n{error.message}",
        hint=f"allow an older {last.name}, or target release 24.11 or later"
        if demands
        else f"allow another {last.name}, or another NumPy",
    )


def _ask(plan: Plan, question: Question, builder: Builder) -> list[Package]:
    """Ask until every package in the answer comes from where it must come from.

    uv keeps a package to an index only if it is required directly, so members of the torch family that others
    bring in are added. What has no wheel may be built of its source where the recipe allows it.
    """
    first: NoSolution | None = None
    for _ in range(_ROUNDS):
        if question.build:
            question = replace(question, interpreter=builder.python())
        try:
            packages = solve(question, plan.target, builder.session)
            better = plan.keep_family(question, {str(package.name) for package in packages})
            if better == question:
                return packages
        except NoSolution as refused:
            words = set(re.findall(r"[a-z0-9-]+", refused.reason))
            better = plan.leave_wheelhouses(plan.keep_family(question, words), words)
            allowed = [name for name in refused.sources if name in plan.recipe.build_from_source]
            better = replace(better, build=tuple(dict.fromkeys([*question.build, *allowed])))
            if better == question:
                raise _closed(question, refused, plan) or _explain(refused, plan) from refused
            first = first or refused
        except ResolveError as error:
            # What was tried after a refusal needs an index that does not answer: the refusal says more.
            more = _explain(first, plan) if first is not None and isinstance(error, Unreachable) else error
            raise _closed(question, error, plan) or more from error
        question = better
    raise ResolveError(
        f"recipe {plan.recipe.name}: the solver's answers do not converge; it ran {_ROUNDS} times"
    )


def _explain(refused: NoSolution, plan: Plan) -> ResolveError:
    """Explain in the recipe's terms why there is no solution."""
    recipe, reason = plan.recipe, refused.reason
    no_version = f"no version of torch=={recipe.torch_version}" in reason
    if no_version or "torch was not found in the package registry" in reason:
        url = plan.settings.index_url if recipe.cuda == "pypi" else plan.family_index("torch").url
        where = "in the wheelhouses" if plan.settings.no_index else f"on {redacted(url)}"
        return ResolveError(
            f"there is no torch {recipe.torch_version} for Python {recipe.python} {where}",
            hint=f"it is required by `torch` and `cuda` in {recipe.path.name}",
        )
    if refused.sources:
        names = ", ".join(dict.fromkeys(refused.sources))
        return ResolveError(
            f"recipe {recipe.name}: no wheel fits of {names}, only its source:\n"
            + "\n".join(f"  {line}" for line in reason.splitlines()),
            hint=f"`build-from-source: [{names}]` builds it once, when the recipe is locked",
        )
    lines = "\n".join(f"  {line}" for line in reason.splitlines())
    demands = [Requirement(text) for text in recipe.release.demands]
    asked = [
        str(demand) for demand in demands if demand.specifier and f"{demand.name}{demand.specifier}" in reason
    ]
    return ResolveError(
        f"recipe {recipe.name}: no set of packages satisfies it:\n{lines}",
        hint=f"{', '.join(asked)} is required by Triton {recipe.release.name}" if asked else None,
    )


def _closed(question: Question, refusal: ResolveError, plan: Plan) -> ResolveError | None:
    """Return what to say where a source refused to answer for want of credentials."""
    asked: dict[Index, list[str]] = {index: [] for index in question.indexes}
    requirements = [Requirement(text) for text in question.requirements]
    for name in (canonicalize_name(one.name) for one in requirements if one.url is None):
        for index in (question.pinned[name],) if name in question.pinned else question.indexes:
            asked.setdefault(index, []).append(name)
    return find_closed(asked, refusal.message, plan.settings)


# -- answers ---------------------------------------------------------------------------------------


def _artifacts(
    packages: Iterable[Package], builder: Builder
) -> tuple[list[Artifact], tuple[tuple[str, str], ...]]:
    """Return the artifact of each package, and what those were built of that had to be."""
    artifacts, built = [], []
    for package in packages:
        if package.archive is not None:
            artifacts.append(builder.take(package.archive))
        elif package.wheels:
            artifacts.append(_best_wheel(package, builder.target, builder.session.settings))
        else:
            artifact, origin = builder.build(package)
            artifacts.append(artifact)
            built.append((str(package.name), origin))
    return artifacts, tuple(sorted(built))


def _best_wheel(package: Package, target: Target, settings: Settings) -> Artifact:
    wheel = target.best_wheel(package)
    assert wheel is not None  # otherwise the solver would not have chosen it
    name, version, _, _ = parse_wheel_filename(wheel.filename)
    url = wheel.url or wheel.path or ""
    return Artifact(
        name=name,
        version=str(package.version or version),
        filename=wheel.filename,
        sha256=wheel.hashes["sha256"],
        size=wheel.size if wheel.size is not None else size_of(url, settings),
    )


def _check_torch(recipe: Recipe, artifacts: Iterable[Artifact], provided: Mapping[str, str]) -> str:
    """Make sure that the build is the recipe's, whatever the sources answered; return the version as installed."""
    if "torch" in provided:
        if Version(provided["torch"]).public != Version(recipe.torch).public:
            raise ResolveError(
                f"recipe {recipe.name} requires torch {recipe.torch}, but the conda packages have {provided['torch']}"
            )
        return provided["torch"]
    found = next((artifact.version for artifact in artifacts if artifact.name == "torch"), "none")
    if found != recipe.torch_version:
        raise ResolveError(
            f"recipe {recipe.name} requires torch {recipe.torch_version}, but the solver chose {found}"
        )
    return found
