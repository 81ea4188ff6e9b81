"""SBOMs that packages bring."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envbuilder import api
from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.errors import IntegrityError
from envbuilder.inventory.components import Component, Inventory
from envbuilder.inventory.embedded import MOST
from envbuilder.inventory.sbom import sbom
from tests.helpers.inventories import SITE, Package, files_at, inventory

CARGO = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "metadata": {"component": {"type": "library", "name": "alpha-python", "version": "1.0"}},
    "components": [
        {
            "type": "library",
            "name": "serde",
            "version": "1.0.210",
            "description": "A generic\nframework",
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
            "hashes": [{"alg": "SHA-256", "content": "5" * 64}],
            "purl": "pkg:cargo/serde@1.0.210?download_url=https://somewhere.example.org/serde",
            "components": [
                {
                    "type": "library",
                    "name": "zlib",
                    "version": "1.2.11",
                    "licenses": [{"license": {"id": "Zlib"}}],
                }
            ],
        },
        {"type": "file", "name": "src/lib.rs"},
    ],
}
SPDX = {
    "spdxVersion": "SPDX-2.3",
    "relationships": [
        {
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": "SPDXRef-me",
        }
    ],
    "packages": [
        {"SPDXID": "SPDXRef-me", "name": "alpha", "versionInfo": "1.0"},
        {
            "SPDXID": "SPDXRef-1",
            "name": "libxml2",
            "versionInfo": "2.9.14",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "MIT",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": "pkg:deb/debian/libxml2@2.9.14?distro=debian-12",
                }
            ],
        },
    ],
}
AUDITWHEEL = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.4",
    "components": [
        {
            "type": "library",
            "name": "alpha",
            "version": "1.0",
            "purl": "pkg:pypi/alpha@1.0?file_name=alpha.whl",
        },
        {
            "type": "library",
            "name": "libgfortran",
            "version": "8.5.0-22.el8_10",
            "purl": "pkg:rpm/almalinux/libgfortran@8.5.0-22.el8_10",
        },
    ],
}


def with_sboms(**documents: Any) -> Inventory:
    sboms = {
        f"sboms/{name}.json": json.dumps(one) if isinstance(one, dict) else one
        for name, one in documents.items()
    }
    return inventory(Package(name="alpha", licences=sboms))


def inside(found: Inventory) -> dict[str, Component]:
    return {one.name: one for one in found.components if one.kind == "embedded"}


def test_crates_and_what_is_inside_them() -> None:
    found = inside(with_sboms(cargo=CARGO))
    assert list(found) == ["serde", "zlib"]
    serde, zlib = found["serde"], found["zlib"]
    # Where somebody had it from is nobody's business, and no part of its name.
    assert (serde.purl, zlib.purl) == ("pkg:cargo/serde@1.0.210", "pkg:generic/zlib@1.2.11")
    assert (serde.licence.expression, zlib.licence.expression) == ("MIT OR Apache-2.0", "Zlib")
    assert (serde.summary, serde.sha256, serde.inside) == ("A generic framework", "5" * 64, "alpha")
    assert serde.place == f"{SITE}/alpha-1.0.dist-info/sboms/cargo.json"


def test_spdx_and_what_auditwheel_writes() -> None:
    found = inside(with_sboms(spdx=SPDX, auditwheel=AUDITWHEEL))
    assert {name: (one.purl, one.licence.expression) for name, one in found.items()} == {
        "libgfortran": ("pkg:rpm/almalinux/libgfortran@8.5.0-22.el8_10", None),
        "libxml2": ("pkg:deb/debian/libxml2@2.9.14?distro=debian-12", "MIT"),
    }


def test_they_are_in_the_document_with_where_they_are() -> None:
    text = sbom(with_sboms(cargo=CARGO, again=CARGO))
    parts = [one for one in json.loads(text)["components"] if one["name"] == "serde"]
    assert [one["purl"] for one in parts] == ["pkg:cargo/serde@1.0.210"]
    said = {one["name"]: one["value"] for one in parts[0]["properties"]}
    assert (said["envbuilder:kind"], said["envbuilder:inside"]) == ("embedded", "alpha")


def test_a_library_that_an_sbom_names_is_named_once() -> None:
    path = f"{SITE}/alpha.libs/libgfortran-040039e1.so.5.0.0"
    package = Package(name="alpha", licences={"sboms/auditwheel.cdx.json": json.dumps(AUDITWHEEL)})
    kinds = [
        one.kind for one in inventory(package, files=files_at(path)).components if "gfortran" in one.name
    ]
    assert kinds == ["embedded"]
    bare = inventory(Package(name="alpha"), files=files_at(path)).components
    assert [one.kind for one in bare if "gfortran" in one.name] == ["library"]


def test_a_format_that_is_not_read_is_said() -> None:
    found = with_sboms(tag="SPDXVersion: SPDX-2.3\n", other={"@context": "https://spdx.org/rdf/3.0.1"})
    folder = f"{SITE}/alpha-1.0.dist-info/sboms"
    assert found.unread == (f"{folder}/other.json", f"{folder}/tag.json")


@pytest.mark.parametrize(
    "broken",
    [
        '{"bomFormat": ',
        json.dumps({"bomFormat": "CycloneDX", "components": [{"version": "1"}]}),
        json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "/"}]}),
        json.dumps({"spdxVersion": "SPDX-2.3", "packages": [{"SPDXID": "x", "name": " / "}]}),
        json.dumps({"bomFormat": "CycloneDX", "components": [{"name": f"a{n}"} for n in range(MOST + 1)]}),
    ],
    ids=["cut off", "no name", "a slash", "slash and spaces", "too many"],
)
def test_one_that_is_broken_is_not_passed_over(broken: str) -> None:
    with pytest.raises(IntegrityError, match=r"its packages cannot be read: .*sboms/x\.json"):
        with_sboms(x=broken)


def is_library(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == "lib" and name.startswith("lib") and ".so" in name and not name.startswith("libpython")


@pytest.mark.torch
def test_those_of_the_real_archive(cpu_archive: Any) -> None:
    parts = json.loads(api.sbom(cpu_archive))["components"]
    kinds: dict[str, set[str]] = {}
    libraries = []
    for one in parts:
        said = {entry["name"]: entry["value"] for entry in one["properties"]}
        kinds.setdefault(said["envbuilder:kind"], set()).add(one["purl"].partition("@")[0])
        if said.get("envbuilder:inside") == "cpython":
            libraries.append(one["name"])
            # A name alone would also be `unknown, from the interpreter`.
            (licence,) = one["licenses"]
            assert licence.get("expression") or licence["license"].get("id"), (one["name"], licence)
    files = read_manifest(manifest_beside(cpu_archive)).files
    brought = [file.path for file in files if file.link is None and is_library(file.path)]
    assert len(libraries) == len(brought) > 0, (libraries, brought)
    assert "pkg:cargo/serde" in kinds["embedded"]
    assert "pkg:generic/openblas" in kinds["library"]
    assert "openssl" in {one["name"] for one in parts}  # by the package that owns it, where one does
