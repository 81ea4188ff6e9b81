"""Check the SBOM, licences and advisories of an archive, as its recipe requires."""

from __future__ import annotations

from collections.abc import Iterator

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.inventory.audit import audit
from envbuilder.inventory.components import Inventory, inventory_of
from envbuilder.inventory.policy import Policy, evaluate
from envbuilder.inventory.read import texts_of_folder
from envbuilder.inventory.sbom import sbom
from envbuilder.recipe.model import AuditOptions, LicenceOptions, VerifyOptions
from envbuilder.util.text import counted
from envbuilder.verification.report import Check, some
from envbuilder.verification.static.extracted import Archive


def check_contents(archive: Archive, options: VerifyOptions) -> Iterator[Check]:
    """Make the checks that *options* require, from the extracted files."""
    asked = {
        "contents.sbom": options.sbom,
        "contents.licences": options.licences is not None,
        "contents.advisories": options.audit is not None,
    }
    if not any(asked.values()):
        return
    contents = archive.contents
    try:
        texts = texts_of_folder(
            archive.environment, contents.members, sha256=contents.sha256, size=contents.size
        )
        inventory = inventory_of(texts, archive.path)
    except IntegrityError as error:
        yield from (_failed(id, error) for id, wanted in asked.items() if wanted)
        return
    if options.sbom:
        yield _check_sbom(inventory)
    if options.licences is not None:
        yield _check_licences(inventory, options.licences)
    if options.audit is not None:
        yield _check_advisories(inventory, options.audit)


def _check_sbom(inventory: Inventory) -> Check:
    try:
        sbom(inventory)
    except (IntegrityError, RecipeError) as error:
        return _failed("contents.sbom", error)
    text = f"{counted(len(inventory.components), 'component')}, written as CycloneDX 1.6"
    return Check(id="contents.sbom", status="passed", found=text)


def _check_licences(inventory: Inventory, options: LicenceOptions) -> Check:
    policy = Policy(allow=options.allow, deny=options.deny, packages=options.packages)
    try:
        evaluated = evaluate(inventory.components, policy)
    except RecipeError as error:
        return _failed("contents.licences", error)
    refused = [f"{one.component.name}: {one.reason}" for one in evaluated if one.verdict == "refused"]
    unknown = [f"{one.component.name} {one.reason}" for one in evaluated if one.verdict == "unknown"]
    fix = "remove the package, or record the decision about it under `verify.licences`"
    if refused:
        return Check(id="contents.licences", status="failed", found="; ".join(_few(refused)), fix=fix)
    if unknown:
        return Check(id="contents.licences", status="warning", found="; ".join(_few(unknown)), fix=fix)
    text = f"the licences of {counted(len(evaluated), 'component')} are allowed"
    return Check(id="contents.licences", status="passed", found=text)


def _check_advisories(inventory: Inventory, options: AuditOptions) -> Check:
    try:
        found = audit(inventory, options.advisories, ignore=options.ignore)
    except (IntegrityError, RecipeError) as error:
        return _failed("contents.advisories", error)
    base = f"{counted(found.advisories, 'advisory', 'advisories')}, the newest of {found.newest[:10] or 'no date'}"
    if found.counting:
        names = [f"{one.component.name} {one.component.version}: {one.id}" for one in found.counting]
        fix = "use a fixed version; `envbuilder audit` lists them"
        return Check(id="contents.advisories", status="failed", found=f"{some(names)} (of {base})", fix=fix)
    ignored = f"; {len(found.findings)} ignored" if found.findings else ""
    return Check(id="contents.advisories", status="passed", found=f"no matches in {base}{ignored}")


def _few(items: list[str]) -> list[str]:
    return [*items[:8], *([f"and {len(items) - 8} more"] if len(items) > 8 else [])]


def _failed(id: str, error: IntegrityError | RecipeError) -> Check:
    return Check(id=id, status="failed", found=error.message, fix=error.hint)
