from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.base.prefixes import (
    NOWHERE,
    PREFIXES_PATH,
    PrefixUse,
    prefixes_text,
    read_prefixes,
    rewrite_prefixes,
)
from envbuilder.util.documents import DocumentError
from tests.helpers.conda_project import Project, extract


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


def test_prefixes_are_cured_harmless_or_reported(project: Project) -> None:
    report = project.build(project.recipe())
    environment = extract(report.archive, project.folder / "env")
    uses = {use.path: use for use in read_prefixes((environment / PREFIXES_PATH).read_bytes())}
    sysconfig = next(path for path in uses if "_sysconfigdata" in path)
    outcomes = {
        path: (use.kind, use.outcome) for path, use in uses.items() if not path.startswith("conda-meta/")
    }
    assert outcomes == {
        "bin/python3.11": ("binary", "cured"),
        "bin/where-python": ("text", "cured"),
        "etc/conda/activate.d/base.sh": ("text", "cured"),
        sysconfig: ("text", "cured"),
        "share/base/where.txt": ("text", "reported"),
    }
    assert [line for line in project.notes.notes if "prefix" in line] == [
        "share/base/where.txt contains conda's prefix, which cannot be made relative: "
        "contains a folder that will not exist"
    ]
    named = {
        str(path.relative_to(environment))
        for path in environment.rglob("*")
        if path.is_file() and not path.is_symlink() and NOWHERE.encode() in path.read_bytes()
    }
    assert named - {PREFIXES_PATH} <= {path for path, use in uses.items() if use.outcome != "cured"}


def cure(folder: Path, path: str, data: bytes, mode: int = 0o644) -> tuple[PrefixUse, bytes]:
    """Cure the one file *path*; return what became of it, and what is in it."""
    place = folder / path
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    place.chmod(mode)
    (use,) = rewrite_prefixes(folder)
    assert use.path == path
    assert place.stat().st_mode & 0o777 == mode
    return use, place.read_bytes()


@pytest.mark.parametrize(
    ("path", "before", "after", "how"),
    [
        (
            "bin/tool",
            f"#!{NOWHERE}/bin/python3.11\nprint()\n",
            "#!/usr/bin/env python3.11\nprint()\n",
            "begins with #!/usr/bin/env",
        ),
        (
            "bin/tool",
            f"#! {NOWHERE}/bin/perl -w\n",
            "#!/usr/bin/env -S perl -w\n",
            "begins with #!/usr/bin/env",
        ),
        (
            "lib/pkgconfig/x.pc",
            f"prefix={NOWHERE}\n",
            "prefix=${pcfiledir}/../..\n",
            "its prefix is relative to itself",
        ),
        (
            "etc/conda/activate.d/x.sh",
            f'export X="{NOWHERE}/share"\n',
            'export X="${CONDA_PREFIX}/share"\n',
            "the shell expands the prefix (${CONDA_PREFIX})",
        ),
        (
            "bin/tool",
            f"#!/bin/sh\nexec {NOWHERE}/libexec/tool\n",
            "#!/bin/sh\n"
            'ENVBUILDER_PREFIX=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)\n'
            "exec ${ENVBUILDER_PREFIX}/libexec/tool\n",
            "the shell expands the prefix (${ENVBUILDER_PREFIX})",
        ),
    ],
)
def test_texts_that_are_made_relative(tmp_path: Path, path: str, before: str, after: str, how: str) -> None:
    use, data = cure(tmp_path, path, before.encode(), 0o755)
    assert data.decode() == after
    assert (use.kind, use.outcome, use.how) == ("text", "cured", how)


@pytest.mark.parametrize(
    ("path", "data", "kind", "outcome"),
    [
        ("bin/tool", f"#!/bin/sh\nexec '{NOWHERE}/libexec/tool'\n".encode(), "text", "reported"),
        ("bin/tool", f"#!{NOWHERE}/bin/python\nX = '{NOWHERE}'\n".encode(), "text", "reported"),
        ("share/x.cfg", f"{NOWHERE}\n".encode(), "text", "reported"),
        ("share/x.bin", f"\0{NOWHERE}\0".encode(), "binary", "reported"),
        ("lib/libx.la", f"{NOWHERE}\n".encode(), "text", "harmless"),
        ("lib/python3.11/__pycache__/x.cpython-311.pyc", f"\0{NOWHERE}".encode(), "binary", "harmless"),
        ("include/x.h", f'#define X "{NOWHERE}"'.encode(), "text", "harmless"),
    ],
)
def test_files_that_stay_as_they_are(tmp_path: Path, path: str, data: bytes, kind: str, outcome: str) -> None:
    use, after = cure(tmp_path, path, data)
    assert after == data
    assert (use.kind, use.outcome) == (kind, outcome)


def test_an_elf_file_that_names_the_prefix_elsewhere(tmp_path: Path) -> None:
    use, after = cure(tmp_path, "lib/libx.so", b"\x7fELF" + b"\0" * 60 + NOWHERE.encode())
    assert (use.kind, use.outcome) == ("binary", "reported")
    assert NOWHERE.encode() in after


def test_empty_files_and_links_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "link").symlink_to(NOWHERE)
    assert rewrite_prefixes(tmp_path) == []


def test_the_list_is_read_as_it_is_written() -> None:
    uses = [PrefixUse(path="a", kind="text", outcome="cured", how="so")]
    assert read_prefixes(prefixes_text(uses).encode()) == uses


@pytest.mark.parametrize("data", [b"[1]", b'[{"path": "a"}]', b"{", b"7"])
def test_a_list_that_is_none(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"^share/envbuilder/prefixes\.json: "):
        read_prefixes(data)
