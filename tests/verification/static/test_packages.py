"""What dist-info says of the packages in an environment: others wrote it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envbuilder.foreign.packages import find_packages
from envbuilder.verification.static.packages import (
    installed_packages,
    owners,
    with_recorded,
    with_requirements,
)
from tests.helpers.environments import SITE

INFO = f"{SITE}/My_Package-1.0.dist-info"


def write(folder: Path, record: bytes, metadata: bytes | None) -> list[str]:
    (folder / INFO).mkdir(parents=True, exist_ok=True)
    (folder / INFO / "RECORD").write_bytes(record)
    if metadata is not None:
        (folder / INFO / "METADATA").write_bytes(metadata)
    return [f"{INFO}/RECORD"]


def test_files_and_requirements(tmp_path: Path) -> None:
    metadata = (
        b"Name: My.Package\nRequires-Dist: Other_One>=2; python_version > '3'\nRequires-Dist: x; extra == 'y'\n"
        b"Requires-Dist: ;;\n"
    )
    record = b'my/__init__.py,sha256=x,3\n../../../bin/tool,,\n"my/a,b.py",,\n\n'
    found = installed_packages(tmp_path, write(tmp_path, record, metadata))
    (package,) = found.values()
    assert (package.name, package.version, package.site) == ("my-package", "1.0", SITE)
    assert package.files == {f"{SITE}/my/__init__.py", "bin/tool", f"{SITE}/my/a,b.py"}
    assert package.requires == {"other-one"}
    assert owners(found)["bin/tool"] == "my-package"


def test_requirements_in_a_circle(tmp_path: Path) -> None:
    found = installed_packages(
        tmp_path, write(tmp_path, b"", b"Requires-Dist: my-package\nRequires-Dist: gone\n")
    )
    assert with_requirements("my-package", found) == {"my-package"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(record=st.binary(max_size=200), metadata=st.none() | st.binary(max_size=200))
def test_whatever_it_says_it_is_read(tmp_path: Path, record: bytes, metadata: bytes | None) -> None:
    (package,) = installed_packages(tmp_path, write(tmp_path, record, metadata)).values()
    assert all(isinstance(path, str) for path in package.files)


def test_an_egg_without_a_version_has_that_of_its_name(tmp_path: Path) -> None:
    path = "lib/python3.11/site-packages/beta-2.egg-info"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"Name: Beta\n")
    found = with_recorded({}, tmp_path, find_packages({path: b"Name: Beta\n"}))
    assert {name: one.version for name, one in found.items()} == {"beta": "2"}
