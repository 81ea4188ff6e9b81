from __future__ import annotations

import builtins
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from envbuilder import api
from envbuilder.archive.manifest import Manifest, manifest_beside, read_manifest
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.inventory.sbom import sbom
from envbuilder.util.extras import installing
from envbuilder.util.files import file_sha256
from tests.helpers.inventories import CUDA_EULA, MIT, SITE, Package, inventory


def document(*packages: Package, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom(inventory(*packages, **values)))
    return found


def licences(package: Package) -> Any:
    (found,) = [one for one in document(package)["components"] if one["name"] == package.name]
    return found.get("licenses")


def declared(**licence: str) -> list[dict[str, Any]]:
    return [{"license": {"acknowledgement": "declared", **licence}}]


@pytest.mark.parametrize(
    ("headers", "texts", "expected"),
    [
        (["License: MIT"], {}, declared(id="MIT")),
        (
            ["License-Expression: MIT OR Apache-2.0"],
            {},
            [{"acknowledgement": "declared", "expression": "MIT OR Apache-2.0"}],
        ),
        ([], {}, None),
        (["License: Free for friends"], {}, declared(name="Free for friends")),
        (["License: <b>&\u2028 \x01"], {}, declared(name="<b>&")),
        ([], {"LICENSE": MIT}, [{"license": {"acknowledgement": "concluded", "id": "MIT"}}]),
        (
            ["License: LicenseRef-NVIDIA-Proprietary"],
            {"License.txt": CUDA_EULA},
            declared(name="NVIDIA CUDA Toolkit End User License Agreement"),
        ),
    ],
)
def test_licences_as_cyclonedx_has_them(headers: list[str], texts: dict[str, str], expected: Any) -> None:
    assert licences(Package(name="alpha", headers=headers, licences=texts)) == expected


def test_one_archive_gives_one_document() -> None:
    package = Package(name="alpha", headers=["License: MIT"])
    text = sbom(inventory(package))
    assert text == sbom(inventory(package))
    assert "timestamp" not in json.loads(text)["metadata"]
    assert json.loads(text)["serialNumber"] == "urn:uuid:69b1096d-39a7-5c43-a1a4-ce593312e621"


def test_one_package_in_two_places_is_two_components() -> None:
    inside = [Package(name="gamma", place=f"{SITE}/{name}/_vendor") for name in ("alpha", "beta")]
    found = document(Package(name="alpha"), *inside)
    assert sorted(one["bom-ref"] for one in found["components"] if one["name"] == "gamma") == [
        f"pkg:pypi/gamma@1.0#{SITE}/alpha/_vendor",
        f"pkg:pypi/gamma@1.0#{SITE}/beta/_vendor",
    ]


def test_dependencies_are_those_of_the_metadata() -> None:
    found = document(Package(name="alpha", headers=["Requires-Dist: beta"]), Package(name="beta"))
    names = {one["bom-ref"]: one["name"] for one in found["components"]}
    needs = {
        one["ref"]: sorted(names[ref] for ref in one.get("dependsOn", [])) for one in found["dependencies"]
    }
    assert {names.get(ref, "archive"): others for ref, others in needs.items()} == {
        "archive": ["alpha", "beta", "cpython"],
        "alpha": ["beta"],
        "beta": [],
        "cpython": [],
    }


def test_a_document_against_the_schema_is_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonStrictValidator, "validate_str", lambda *_: "'type' is a required property")
    with pytest.raises(
        IntegrityError, match=r"does not follow CycloneDX 1\.6: 'type' is a required property"
    ):
        sbom(inventory())


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("cyclonedx"):
            raise ModuleNotFoundError(f"No module named '{name}'", name="cyclonedx")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(RecipeError) as caught:
        sbom(inventory())
    assert str(caught.value) == (
        f"envbuilder sbom requires cyclonedx, which is not installed\n  hint: {installing('proof')}"
    )


def test_the_sbom_of_a_real_archive_has_every_package_of_its_manifest(cpu_archive: Path) -> None:
    text = api.sbom(cpu_archive)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    manifest: Manifest = read_manifest(manifest_beside(cpu_archive))
    wheels = {
        one["name"]: (one["version"], one["hashes"][0]["content"])
        for one in found["components"]
        if {"name": "envbuilder:kind", "value": "wheel"} in one["properties"]
    }
    assert wheels == {one.name: (one.version, one.sha256) for one in manifest.packages}
    assert found["metadata"]["component"]["hashes"][0]["content"] == file_sha256(cpu_archive)
    assert [one["name"] for one in found["components"] if not one.get("licenses")] == []
    (python,) = [one for one in found["components"] if one["name"] == "cpython"]
    assert python["cpe"].startswith("cpe:2.3:a:python:python:3.11.")
    assert python["licenses"][0]["license"]["id"] == "Python-2.0"
    # Packages that setuptools brings along are in it, as they are in the archive.
    with tarfile.open(cpu_archive) as tar:
        inside = [name for name in tar.getnames() if "/_vendor/" in name and name.endswith("/METADATA")]
    bundled = [
        one
        for one in found["components"]
        if {"name": "envbuilder:kind", "value": "bundled"} in one["properties"]
    ]
    assert len(bundled) == len(inside) > 0
