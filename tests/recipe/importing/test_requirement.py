from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from envbuilder.recipe.importing.requirement import git_reference, narrowed, read_requirement


@pytest.mark.parametrize(
    ("address", "reference"),
    [
        ("https://example.org/a.git", "git+https://example.org/a.git"),
        ("git+https://example.org/a.git", "git+https://example.org/a.git"),
        ("ssh://git@example.org/a.git", "git+ssh://git@example.org/a.git"),
        ("git@example.org:team/a.git", "git+ssh://git@example.org/team/a.git"),
    ],
)
def test_a_git_repository(tmp_path: Path, address: str, reference: str) -> None:
    assert git_reference(address) == reference
    whole = git_reference(address, "v1", "py")
    assert whole == f"{reference}@v1#subdirectory=py"
    found = read_requirement(f"a @ {whole}", tmp_path)
    assert isinstance(found, Requirement)
    assert found.url == whole


def test_a_marker_besides_its_own() -> None:
    asked = Requirement("a[b]>=1; os_name == 'posix' or os_name == 'nt'")
    assert str(narrowed(asked, "")) == str(asked)
    both = narrowed(asked, 'python_version < "3.12" or python_version > "3.13"')
    assert str(both) == (
        'a[b]>=1; (os_name == "posix" or os_name == "nt") and (python_version < "3.12" or python_version > "3.13")'
    )
    assert str(asked) == 'a[b]>=1; os_name == "posix" or os_name == "nt"', "the line itself stays as it is"
