"""The inventory of an archive as a CycloneDX 1.6 document, checked against CycloneDX's own schema."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from envbuilder.errors import IntegrityError
from envbuilder.inventory.components import Component, Inventory
from envbuilder.util.extras import needs_extra
from envbuilder.util.version import VERSION

if TYPE_CHECKING:
    from cyclonedx.model import component as cyclonedx_component
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.license import License

_NAMESPACE: Final = uuid.UUID("5d0c4f5a-6a0e-5a53-9a86-0d6f2b3f9f1e")
"""Namespace of the serial numbers: each archive has one."""


def sbom(inventory: Inventory) -> str:
    """Return the CycloneDX document of an archive, as JSON: the same text for the same archive.

    Raises:
        RecipeError: the extra ``proof`` is not installed.
        IntegrityError: the packages' metadata does not fit CycloneDX's schema.
    """
    with needs_extra("proof", "envbuilder sbom"):
        from cyclonedx.output.json import JsonV1Dot6
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    text = JsonV1Dot6(_document(inventory)).output_as_string(indent=1)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise IntegrityError(f"the SBOM of {inventory.archive} does not follow CycloneDX 1.6: {problem}")
    return f"{text}\n"


def _document(inventory: Inventory) -> Bom:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.model.tool import ToolRepository

    manifest = inventory.manifest
    root = Part(
        type=ComponentType.CONTAINER,
        name=manifest.recipe,
        version=inventory.sha256[:12],
        bom_ref=f"sha256:{inventory.sha256}",
        description=f"torch {manifest.torch or 'none'} on CPython {manifest.python} for Triton {manifest.release}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=inventory.sha256)],
        properties=[
            Property(name=f"envbuilder:{name}", value=value)
            for name, value in (
                ("archive", inventory.archive),
                ("recipe-digest", manifest.recipe_digest),
                ("lock-digest", manifest.lock_digest),
                ("release", manifest.release),
                ("cuda", manifest.cuda),
                ("glibc", manifest.glibc or ""),
                ("glibcxx", manifest.glibcxx or ""),
            )
            if value or name.startswith("glibc")
        ],
    )
    metadata = BomMetaData(
        component=root,
        tools=ToolRepository(
            components=[Part(type=ComponentType.APPLICATION, name="envbuilder", version=VERSION)]
        ),
    )
    metadata.timestamp = None  # type: ignore[assignment]  # optional in CycloneDX; a time would make each document another
    parts = {_reference(one): _part(one) for one in inventory.components}
    references = {one.purl: parts[_reference(one)].bom_ref for one in inventory.components}
    dependencies = [
        Dependency(parts[_reference(one)].bom_ref, (Dependency(references[need]) for need in one.needs))
        for one in inventory.components
    ]
    dependencies.append(Dependency(root.bom_ref, (Dependency(part.bom_ref) for part in parts.values())))
    return Bom(
        serial_number=uuid.uuid5(_NAMESPACE, inventory.sha256),
        metadata=metadata,
        components=parts.values(),
        dependencies=dependencies,
    )


def _reference(component: Component) -> str:
    """Return a unique reference in the document."""
    return component.purl if component.place is None else f"{component.purl}#{component.place}"


def _part(component: Component) -> cyclonedx_component.Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    is_interpreter = component.kind == "interpreter"
    digest = [] if component.sha256 is None else [component.sha256]
    said = {
        "kind": component.kind,
        "file-name": component.filename,
        "place": component.place,
        "inside": component.inside,
        "licence": component.licence.expression if component.licence.terms else None,
        "licence-source": component.licence.source,
        # A digest of many files, which other tools cannot compare.
        "digest": digest[0] if is_interpreter and digest else None,
    }
    properties = [Property(name=f"envbuilder:{key}", value=value) for key, value in said.items() if value]
    properties += [Property(name="envbuilder:licence-file", value=path) for path in component.licence.files]
    return Part(
        type=ComponentType.PLATFORM if is_interpreter else ComponentType.LIBRARY,
        name=component.name,
        version=component.version or None,
        description=component.summary or None,
        bom_ref=_reference(component),
        purl=PackageURL.from_string(component.purl),
        cpe=f"cpe:2.3:a:python:python:{component.version}:*:*:*:*:*:*:*" if is_interpreter else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in digest if not is_interpreter],
        licenses=_licences(component),
        properties=properties,
    )


def _licences(component: Component) -> Iterable[License]:
    """Return the licence in CycloneDX form: an identifier, an expression, or a name; empty if there is none."""
    from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement, LicenseExpression
    from cyclonedx.spdx import is_supported_id

    licence = component.licence
    concluded = licence.source in (
        "licence file",
        "distribution's copyright file",
        "library's name",
        "decision",
    )
    by = LicenseAcknowledgement.CONCLUDED if concluded else LicenseAcknowledgement.DECLARED
    if licence.expression is None:
        return [DisjunctiveLicense(name=licence.declared, acknowledgement=by)] if licence.declared else []
    if licence.terms is not None:
        return [DisjunctiveLicense(name=licence.terms, acknowledgement=by)]
    if is_supported_id(licence.expression):
        return [DisjunctiveLicense(id=licence.expression, acknowledgement=by)]
    return [LicenseExpression(licence.expression, acknowledgement=by)]
