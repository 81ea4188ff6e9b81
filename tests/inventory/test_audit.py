from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.inventory.audit import audit
from envbuilder.inventory.components import Inventory
from tests.helpers.inventories import SITE, Package, inventory
from tests.inventory.test_osv import record

INSIDE = inventory(Package(name="alpha", version="1.2"), Package(name="beta", place=f"{SITE}/alpha/_vendor"))
GHSA = {
    **record({"introduced": "1.0"}, {"fixed": "1.5"}),
    "id": "GHSA-1",
    "aliases": ["CVE-1"],
    "summary": "Bad",
}
PYSEC = {**GHSA, "id": "PYSEC-1", "aliases": ["CVE-1", "GHSA-1"], "modified": "2026-03-01T00:00:00Z"}
OTHER = {**record({"introduced": "0"}, name="beta"), "id": "CVE-2"}
NOT_OURS = {**record({"introduced": "0"}, name="gamma"), "id": "CVE-3"}


def write(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for one in records:
        (folder / f"{one['id']}.json").write_text(json.dumps(one))
    return folder


def as_zip(path: Path, *records: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for one in records:
            file.writestr(f"{one['id']}.json", json.dumps(one))
    return path


def as_tar(path: Path, *records: dict[str, Any]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for one in records:
            content = json.dumps(one).encode()
            info = tarfile.TarInfo(f"PyPI/{one['id']}.json")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_folder_an_archive_and_archives_in_a_folder_say_the_same(tmp_path: Path) -> None:
    records = (GHSA, PYSEC, OTHER, NOT_OURS)
    databases = [
        write(tmp_path / "folder" / "2026", *records).parent,
        as_zip(tmp_path / "all.zip", *records),
        as_tar(tmp_path / "all.tar.gz", *records),
        as_zip(write(tmp_path / "mixed", OTHER, NOT_OURS) / "all.zip", GHSA, PYSEC).parent,
    ]
    found = [audit(INSIDE, database) for database in databases]
    assert found == [found[0]] * 4
    assert (found[0].advisories, found[0].newest) == (4, "2026-03-01T00:00:00Z")


def test_records_of_one_thing_are_one_finding(tmp_path: Path) -> None:
    found = audit(INSIDE, write(tmp_path / "db", GHSA, PYSEC, NOT_OURS))
    (finding,) = found.findings
    assert (finding.id, finding.aliases, finding.fixed) == ("GHSA-1", ("CVE-1", "PYSEC-1"), ("1.5",))


@pytest.mark.parametrize("name", ["GHSA-1", "PYSEC-1", "CVE-1"])
def test_any_name_of_it_can_be_ignored(tmp_path: Path, name: str) -> None:
    found = audit(INSIDE, write(tmp_path / "db", GHSA, PYSEC), ignore=[name])
    assert ([one.ignored for one in found.findings], found.counting) == ([True], ())


def test_packages_inside_others_are_looked_at_too(tmp_path: Path) -> None:
    (finding,) = audit(INSIDE, write(tmp_path / "db", OTHER)).findings
    assert (finding.component.name, finding.component.place) == ("beta", f"{SITE}/alpha/_vendor")


# -- bad input -------------------------------------------------------------------------------------


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone: no such database of advisories"):
        audit(INSIDE, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"empty: it contains no advisories"):
        audit(INSIDE, tmp_path / "empty")


def test_a_broken_record_is_not_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "db", OTHER)
    (folder / "A.json").write_text(json.dumps(GHSA)[:-5])
    with pytest.raises(IntegrityError) as caught:
        audit(INSIDE, folder)
    assert caught.value.message.startswith(f"{folder / 'A.json'}: is not JSON: Unterminated string ")
    assert caught.value.hint == "the database is incomplete: download it again"


@pytest.mark.parametrize("name", ["all.zip", "all.tar.gz"])
def test_a_broken_archive_is_not_passed_over(tmp_path: Path, name: str) -> None:
    path = (as_zip if name.endswith("zip") else as_tar)(tmp_path / name, GHSA, OTHER)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(IntegrityError, match=rf"{name}.* cannot be read: |{name}: .*"):
        audit(INSIDE, path)


def of(
    ecosystem: str | None, name: str, *events: dict[str, str], kind: str = "ECOSYSTEM", **values: Any
) -> Any:
    """Return a record of another ecosystem; None: of a repository."""
    affected = {"package": {"ecosystem": ecosystem, "name": name}} if ecosystem else {}
    ranges = [{"type": kind, "events": list(events), **values.pop("range", {})}]
    return {"id": "X-1", "affected": [{**affected, "ranges": ranges, **values}]}


def holding(*purls: str) -> Inventory:
    parts = [
        {"type": "library", "name": one.partition("@")[0].rpartition("/")[2], "purl": one} for one in purls
    ]
    document = json.dumps({"bomFormat": "CycloneDX", "components": parts})
    return inventory(Package(name="alpha", licences={"sboms/x.json": document}))


BEFORE_2 = ({"introduced": "0"}, {"fixed": "2.0.0"})
TAGS = ["v1.2.11", "1_2_12", "zlib-1.2.13"]
CVE = {"repo": "https://github.com/madler/zlib", "database_specific": {"versions": [*BEFORE_2]}}


@pytest.mark.parametrize(
    ("record_", "hit", "missed"),
    [
        (of("crates.io", "time", *BEFORE_2, kind="SEMVER"), "pkg:cargo/time@1.9.9", "pkg:cargo/time@2.0.0"),
        (of("npm", "@a/b", *BEFORE_2, kind="SEMVER"), "pkg:npm/%40a/b@1.0.0", "pkg:npm/b@1.0.0"),
        (of("Maven", "org.x:y", *BEFORE_2), "pkg:maven/org.x/y@1.0", "pkg:maven/org.x/y@2.0.0"),
        (
            of("Debian:12", "openssl", {"introduced": "0"}, {"fixed": "3.0.15-1~deb12u1"}),
            "pkg:deb/debian/libssl3@3.0.14-1~deb12u2?distro=debian-12&upstream=openssl",
            "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?distro=debian-12&upstream=openssl",
        ),
        (
            of("Debian:11", "zlib", {"introduced": "0"}),
            "pkg:deb/debian/zlib@1?distro=debian-11",
            "pkg:deb/debian/zlib@1?distro=debian-12",
        ),
        (
            of("AlmaLinux:8", "libgfortran", {"introduced": "0"}, {"fixed": "8.5.0-23.el8"}),
            "pkg:rpm/almalinux/libgfortran@8.5.0-22.el8_10",
            "pkg:rpm/almalinux/libgfortran@8.5.0-23.el8_10",
        ),
        (
            of("Alpine:v3.20", "zlib", {"introduced": "0"}, {"fixed": "1.3-r2"}),
            "pkg:apk/alpine/zlib@1.3-r1?distro=alpine-3.20.3",
            "pkg:apk/alpine/zlib@1.3-r2?distro=alpine-3.20.3",
        ),
        (of("conda", "zlib", *BEFORE_2), "pkg:conda/zlib@1.2.11", "pkg:conda/zlib@2.1"),
        (
            of("OSS-Fuzz", "zlib", {"introduced": "0" * 40}, kind="GIT", versions=TAGS),
            "pkg:generic/zlib@1.2.12",
            "pkg:generic/zlib@1.2.14",
        ),
        (
            of("OSS-Fuzz", "zlib", {"introduced": "0" * 40}, kind="GIT", versions=TAGS),
            "pkg:generic/zlib@1.2.13",
            "pkg:cargo/zlib@1.2.13",
        ),
        (
            of(None, "", {"introduced": "0" * 40}, kind="GIT", range=CVE),
            "pkg:generic/zlib@1.2.13",
            "pkg:generic/zlib@2.0.1",
        ),
    ],
)
def test_every_ecosystem_by_its_purl(tmp_path: Path, record_: Any, hit: str, missed: str) -> None:
    database = write(tmp_path / "db", record_)
    assert [one.component.purl for one in audit(holding(hit), database).findings] == [hit]
    assert audit(holding(missed), database).findings == ()


def test_what_cannot_be_matched_is_said(tmp_path: Path) -> None:
    nonsense = of("Debian:12", "beta", {"introduced": "0"}, {"fixed": "é"})
    found = audit(
        holding(
            "pkg:generic/gamma",
            "pkg:deb/debian/delta@1",
            "pkg:bitnami/x@1",
            "pkg:deb/debian/beta@1?distro=debian-12",
        ),
        write(tmp_path / "db", nonsense),
    )
    assert {one.component.name: one.reason for one in found.unmatched} == {
        "gamma": "its version is not known",
        "delta": "the release of its distribution is not known: it is compared with all releases",
        "x": "OSV has no advisories of pkg:bitnami/",
        "beta": next(one.reason for one in found.unmatched if one.component.name == "beta"),
    }
    assert "a version of beta cannot be compared" in next(
        one.reason for one in found.unmatched if one.component.name == "beta"
    )
