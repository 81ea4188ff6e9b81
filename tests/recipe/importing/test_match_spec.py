"""Match specs, read by py-rattler."""

from __future__ import annotations

import pytest

from envbuilder.recipe.importing.match_spec import Spec, read_spec
from envbuilder.recipe.importing.remark import Remark, SourceLine


def spec(text: str) -> Spec:
    found = read_spec(SourceLine(text=text, place="e.yml:1"))
    assert isinstance(found, Spec)
    return found


@pytest.mark.parametrize(
    ("text", "name", "version", "build", "channel"),
    [
        ("ffmpeg>=6", "ffmpeg", ">=6", "", None),
        ("numpy=1.26", "numpy", "1.26.*", "", None),
        ("numpy 1.26.4 py311_0", "numpy", "==1.26.4", "py311_0", None),
        ("conda-forge::libaio", "libaio", "", "", "conda-forge"),
        ("conda-forge/linux-64::libaio", "libaio", "", "", "conda-forge"),
        ("NumPy", "numpy", "", "", None),
    ],
)
def test_specs(text: str, name: str, version: str, build: str, channel: str | None) -> None:
    found = spec(text)
    assert (found.name, found.version, found.build, found.channel) == (name, version, build, channel)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://example.org/linux-64/x-1-0.conda", "a place; name the package, and its channel under"),
        ("https://example.org/x::libaio", "a place; name the package"),
        ("numpy >=>1", "invalid match spec: "),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    found = read_spec(SourceLine(text=text, place="e.yml:1"))
    assert isinstance(found, Remark)
    assert (found.fate, found.why[: len(why)]) == ("left out", why)


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("x", ""),
        ("x=0.22.1", "==0.22.1"),
        ("x==0.22.1", "==0.22.1"),
        ("x=0.22", "==0.22.*"),
        ("x>=1,<2", "<2,>=1"),
        ("x 1.0|2.0", None),
    ],
)
def test_what_a_requirement_says(text: str, requirement: str | None) -> None:
    assert spec(text).pep440() == requirement


def test_what_a_spec_allows() -> None:
    assert spec("python>=3.9,<3.12").allows("3.11.99")
    assert not spec("python>=3.9,<3.12").allows("3.12.1")
    assert spec("python").allows("3.8.1")
