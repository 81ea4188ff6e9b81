from __future__ import annotations

import dataclasses
import json

from packageurl import PackageURL

from envbuilder import api
from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.building.build import build
from envbuilder.inventory.components import take_inventory
from envbuilder.inventory.policy import Policy
from envbuilder.signing.verifier import load_verifier
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256
from envbuilder.verification.static.provenance import check_provenance
from tests.helpers.authority import write_key
from tests.helpers.conda_parts import fake_cut, greeting_cut, numpy_cut
from tests.helpers.conda_project import Project
from tests.helpers.inventories import BSD, SITE, Package, component, files_at, inventory

PYTHON = {
    "lib/python3.11/LICENSE.txt": b"Python was created in the early 1990s by Guido van Rossum ... BeOpen.com"
}


def test_the_interpreter_its_licence_and_what_came_with_it() -> None:
    found, library = inventory(
        more=PYTHON, files=files_at("lib/libssl.so.3", "lib/libpython3.11.so.1.0")
    ).components
    assert (found.kind, found.name, found.version) == ("interpreter", "cpython", "3.11.7")
    assert (found.licence.expression, found.licence.files) == (
        "Python-2.0",
        ("lib/python3.11/LICENSE.txt",),
    )
    assert (library.kind, library.name, library.version) == ("library", "openssl", "")
    assert (library.place, library.inside, library.purl) == (
        "lib/libssl.so.3",
        "cpython",
        "pkg:generic/openssl",
    )
    assert (library.licence.expression, library.licence.source) == ("Apache-2.0", "library's name")


def test_wheels_are_named_by_purl_and_sha256() -> None:
    found = component(Package(name="Alpha_Beta", version="1.0+cpu"))
    assert found.purl == "pkg:pypi/alpha-beta@1.0%2Bcpu?file_name=Alpha_Beta-1.0%2Bcpu-py3-none-any.whl"
    purl = PackageURL.from_string(found.purl)
    assert (purl.name, purl.version) == ("alpha-beta", "1.0+cpu")
    assert (found.project, found.size, len(found.sha256 or "")) == ("alpha-beta", 1000, 64)


def test_what_needs_what_as_on_the_platform_of_the_archive() -> None:
    requires = [
        "Requires-Dist: beta>=1; python_version < '3.12'",
        "Requires-Dist: gamma; sys_platform == 'win32'",
        "Requires-Dist: delta[fast]",
        "Requires-Dist: gone",
        "Requires-Dist: not a requirement!",
    ]
    packages = [
        Package(name="alpha", headers=requires),
        Package(name="beta", headers=["Requires-Dist: alpha; extra == 'never'"]),
        Package(name="gamma"),
        Package(name="delta", headers=["Requires-Dist: epsilon; extra == 'fast'"]),
        Package(name="epsilon"),
    ]
    found = {one.name: one for one in inventory(*packages).components}
    names = {one.purl: one.name for one in found.values()}
    assert [names[purl] for purl in found["alpha"].needs] == ["beta", "delta", "epsilon"]
    assert found["beta"].needs == ()


def test_packages_that_extras_send_round_in_a_circle_end() -> None:
    packages = [
        Package(name="alpha", headers=["Requires-Dist: beta[x]"]),
        Package(name="beta", headers=["Requires-Dist: alpha[y]; extra == 'x'"]),
    ]
    alpha, beta = inventory(*packages).components[1:]
    assert (alpha.needs, beta.needs) == ((beta.purl,), ())


def test_packages_inside_others_are_found_by_themselves() -> None:
    vendored = Package(name="gamma", headers=["License: LGPLv3"], place=f"{SITE}/alpha/_vendor")
    _, alpha, gamma = inventory(Package(name="alpha"), vendored).components
    assert (alpha.kind, gamma.kind, gamma.place) == ("wheel", "bundled", f"{SITE}/alpha/_vendor")
    assert (gamma.purl, gamma.sha256) == ("pkg:pypi/gamma@1.0", None)
    assert gamma.licence.expression == "LGPL-3.0-only"


def test_a_package_that_the_manifest_does_not_know_is_not_passed_over() -> None:
    smuggled = Package(name="gamma").texts
    assert [(one.name, one.kind) for one in inventory(more=smuggled).components][1:] == [("gamma", "bundled")]


def test_conda_packages_have_their_licence_and_purl_from_conda_meta() -> None:
    package = Package(
        name="libfoo", version="1.2", filename="libfoo-1.2-h1_0.conda", licences={"LICENSE": BSD}
    )
    record = {
        "name": "libfoo",
        "version": "1.2",
        "build": "h1_0",
        "channel": "https://channels.example.org/conda-forge/linux-64",
        "subdir": "linux-64",
        "license": "LGPL-2.1-or-later",
    }
    more = {"conda-meta/libfoo-1.2-h1_0.json": json.dumps(record).encode()}
    found = component(package, more=more)
    assert found.kind == "conda"
    assert found.purl == "pkg:conda/libfoo@1.2?build=h1_0&channel=conda-forge&subdir=linux-64&type=conda"
    assert found.licence.expression == "LGPL-2.1-or-later"
    bare = component(package)  # without a record, its name says the build
    assert (bare.purl, bare.licence.expression) == (
        "pkg:conda/libfoo@1.2?build=h1_0&type=conda",
        "BSD-3-Clause",
    )


def test_what_a_base_of_conda_packages_is_made_of(conda_project: Project) -> None:
    """In an archive that was really built: projects in conda packages, wheels, and what needs what."""
    conda_project.publish(
        dataclasses.replace(greeting_cut(), version="2.0", license="MIT", depends=["python >=3.8", "tool"]),
        fake_cut("tool", license="LGPL-2.1-or-later"),
        dataclasses.replace(numpy_cut(), name="numpy-base"),
    )
    recipe = conda_project.recipe(conda=["greeting 2.*", "numpy-base"])
    archive = conda_project.build(recipe).archive
    found = {one.name: one for one in take_inventory(archive).components}
    kinds = {
        kind: [n for n, one in found.items() if one.kind == kind] for kind in ("conda", "wheel", "bundled")
    }
    assert kinds == {
        "conda": ["greeting", "libgcc", "libstdcxx", "numpy-base", "python", "python-libs", "tool"],
        "wheel": ["torch"],
        "bundled": [],
    }
    greeting, numpy = found["greeting"], found["numpy-base"]
    assert greeting.purl == "pkg:conda/greeting@2.0?build=py_0&channel=own&subdir=noarch&type=conda"
    assert (greeting.project, greeting.licence.expression) == ("greeting", "MIT")
    assert set(greeting.needs) == {found["python"].purl, found["tool"].purl}
    assert (numpy.project, numpy.version) == ("numpy", "1.26.4")
    assert found["torch"].needs == (numpy.purl,)
    assert found["tool"].project is None
    assert found["tool"].licence.expression == "LGPL-2.1-or-later"
    assert [
        one for one in found.values() if one.kind == "library"
    ] == []  # its packages are components themselves

    document = json.loads(api.sbom(archive))
    assert {one.purl for one in found.values()} == {one["purl"] for one in document["components"]}
    refused = [
        one.component.name
        for one in api.licences(archive, Policy(deny=("LGPL-2.1-or-later",)))
        if one.verdict == "refused"
    ]
    assert refused == ["tool"]

    write_key(conda_project.folder, "key")
    api.attest(archive, key=conda_project.folder / "key.pem")
    manifest = read_manifest(manifest_beside(archive))
    trusted = load_verifier(conda_project.folder / "key.pub")
    checks = list(check_provenance(archive, file_sha256(archive), manifest, trusted))
    assert [check.found for check in checks if check.id == "provenance.materials"] == [
        "recipe, lock and 8 artifacts match the manifest"
    ]

    conda_project.publish(fake_cut("tool", "1.1"))
    later = conda_project.lock(recipe, upgrade=True).lock
    other = build(
        recipe,
        later,
        Session(settings=conda_project.settings, store=conda_project.store),
        output=conda_project.folder / "later",
    ).archive
    changed = api.diff(str(archive), str(other)).packages
    assert [
        (one.name, one.before and one.before.version, one.after and one.after.version) for one in changed
    ] == [("tool", "1.0", "1.1")]
