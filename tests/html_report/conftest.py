from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from envbuilder.archive.manifest import ManifestExclusion, ManifestKept
from envbuilder.html_report.content import Content, Package
from envbuilder.inventory.audit import Audit, Finding
from envbuilder.inventory.sizes import Cell, Sizes
from envbuilder.verification.report import Check, Report
from tests.helpers.inventories import Package as Made
from tests.helpers.inventories import inventory, manifest_of

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e&\"'"


def report_of(*checks: Check, sha256: str | None = "a" * 64) -> Report:
    return Report(
        archive="envs/small-aaaaaaaaaaaa.tar.gz",
        sha256=sha256,
        size=1000,
        unpacked_size=4000,
        recipe="small",
        releases=("24.10",),
        isolated=True,
        server="tritonserver 2.51.0",
        environment={"python": "3.11.7", "import_seconds": "1.25", "devices": "none"},
        checks=checks,
        seconds=12.5,
    )


FAILED = Check(
    id="system.glibc", status="failed", found="requires glibc 2.40", fix="rebuild", release="24.10"
)
PASSED = Check(
    id="system.libstdcxx", status="passed", found="has GLIBCXX_3.4.33", release="24.10", seconds=2.0
)


@pytest.fixture
def content() -> Content:
    """A page that has every section; each text that is foreign is hostile."""
    found = inventory(Made(name="torch", headers=["License-Expression: BSD-3-Clause"]), Made(name="numpy"))
    torch = next(one for one in found.components if one.name == "torch")
    hostile = dataclasses.replace(torch, version=HOSTILE, filename=HOSTILE)
    finding = Finding(
        component=hostile, id=HOSTILE, aliases=(), summary=HOSTILE, severity="", fixed=("2.0",), ignored=False
    )
    sizes = Sizes(
        archive=Path("small-aaaaaaaaaaaa.tar.gz"),
        packed=1_000_000,
        unpacked=2_000_000,
        cells=(
            Cell(package="torch", kind="host code", packed=600_000, unpacked=900_000, files=1),
            Cell(package="torch", kind="Python", packed=100_000, unpacked=500_000, files=7),
            Cell(package=HOSTILE, kind="data", packed=299_000, unpacked=599_000, files=2),
            Cell(package="tiny", kind="data", packed=1_000, unpacked=1_000, files=1),
        ),
        excluded=(),
    )
    return Content(
        archive="small-aaaaaaaaaaaa.tar.gz",
        report=report_of(
            PASSED,
            FAILED,
            Check(id="server.grpc", status="warning", found=HOSTILE, fix=HOSTILE),
            Check(id="probe.model", status="unknown", found="was sent random ids", fix="give --inputs FILE"),
            Check(id="strange.check", status="omitted", found="not known here"),
        ),
        manifest=dataclasses.replace(
            manifest_of(Made(name="torch")),
            excluded=(ManifestExclusion(pattern="**/tests/**", files=3, size=4000),),
            kept=(ManifestKept(path="lib/python3.11/site-packages/a/tests/b.py", imported_by="a.c"),),
        ),
        sizes=sizes,
        packages=(
            Package(component=hostile, findings=(finding,)),
            *(Package(component=one, findings=()) for one in found.components if one.name != "torch"),
        ),
        audit=Audit(archive="small", advisories=12, newest="2026-11-01", findings=(finding,)),
    )


def write_report(path: Path, report: Report) -> Path:
    path.write_text(report.json())
    assert json.loads(report.json())["format"] == 1
    return path
