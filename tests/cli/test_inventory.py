"""``sbom``, ``licences`` and ``audit``: what they print, and when they end in an error."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import call
from tests.helpers.inventories import Package, write_archive
from tests.inventory.test_osv import record

GHSA = {
    **record({"introduced": "1.0"}, {"fixed": "1.5"}),
    "id": "GHSA-1",
    "aliases": ["CVE-1"],
    "summary": "Bad",
}
PYSEC = {**GHSA, "id": "PYSEC-1", "aliases": ["CVE-1", "GHSA-1"], "modified": "2026-03-01T00:00:00Z"}


def write(folder: Path, *records: object) -> Path:
    folder.mkdir()
    for number, one in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(one))
    return folder


def test_audit_names_what_it_found_and_ends_with_7(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "small.tar.gz", Package(name="alpha", version="1.2"))
    database = write(tmp_path / "db", GHSA, PYSEC)
    result = call("audit", "-q", archive, "--advisories", database)
    assert result.exit_code == 7
    assert result.stdout.splitlines()[1].split() == [
        "alpha",
        "1.2",
        "GHSA-1",
        "CVE-1,",
        "PYSEC-1",
        "1.5",
        "Bad",
    ]
    assert (
        result.stdout.splitlines()[-1] == "small.tar.gz: 1 finding in 2 advisories, the newest of 2026-03-01"
    )
    assert result.stderr == (
        "error: 1 advisory against alpha\n"
        "  hint: upgrade to a fixed version, or pass --ignore ID if it does not apply\n"
    )
    ignored = call("audit", "-q", archive, "--advisories", database, "--ignore", "CVE-1")
    assert (ignored.exit_code, ignored.stderr) == (0, "")
    assert "GHSA-1 (ignored)" in ignored.stdout


def test_licences_ends_with_7_where_one_is_refused(tmp_path: Path) -> None:
    packages = [
        Package(name="alpha", headers=["License: GPLv3"]),
        Package(name="beta", headers=["License: MIT"]),
    ]
    archive = write_archive(tmp_path / "small.tar.gz", *packages)
    assert call("licences", "-q", archive).exit_code == 0
    result = call("licences", "-q", archive, "--deny", "GPL-*")
    assert (result.exit_code, result.stderr) == (
        7,
        "error: 1 licence rejected: alpha\n"
        "  hint: remove the package, or set its licence with --package NAME=SPDX\n",
    )
    assert "GPL-3.0-only: GPL-3.0-only is denied" in result.stdout
    assert call("licences", "-q", archive, "--deny", "GPL-*", "--package", "alpha=MIT").exit_code == 0
    assert call("licences", "-q", archive, "--package", "alpha").exit_code == 2
    assert json.loads(call("licences", archive, "--json").stdout)[1]["component"]["licence"]["expression"]


def test_audit_says_what_it_could_not_match_and_could_not_read(tmp_path: Path) -> None:
    unread = {"sboms/a.json": "<bom/>"}
    archive = write_archive(tmp_path / "small.tar.gz", Package(name="beta", licences=unread))
    result = call("audit", "-q", archive, "--advisories", write(tmp_path / "db", GHSA))
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line for line in result.stdout.splitlines() if line.startswith("not read: ")] == [
        "not read: lib/python3.11/site-packages/beta-1.0.dist-info/sboms/a.json: "
        "an SBOM that is neither CycloneDX nor SPDX 2 in JSON"
    ]
    assert result.stdout.splitlines()[-1] == (
        "small.tar.gz: 0 findings in 1 advisory, the newest of 2026-01-01"
    )
    found = json.loads(call("audit", archive, "--advisories", tmp_path / "db", "--json").stdout)
    assert (found["advisories"], found["findings"]) == (1, [])


def test_sbom_goes_to_standard_output_or_to_a_file(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "small.tar.gz", Package(name="alpha"))
    shown = call("sbom", "-q", archive).stdout
    assert "alpha" in [one["name"] for one in json.loads(shown)["components"]]
    assert json.loads(call("sbom", archive, "-o", "out.json", "--json").stdout) == {"sbom": "out.json"}
    assert (tmp_path / "out.json").read_text() == shown
