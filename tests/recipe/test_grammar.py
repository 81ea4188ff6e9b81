from __future__ import annotations

import pytest

from envbuilder.recipe import grammar
from envbuilder.util.documents import Grammar


@pytest.mark.parametrize(
    ("rule", "fits", "others"),
    [
        (grammar.RECIPE, ["a", "resnet-50_v2"], ["", "../a", "a b", "a/b"]),
        (grammar.CUDA, ["cpu", "pypi", "cu126"], ["cuda", "cu", "126"]),
        (grammar.PYTHON, ["3.12", "3.12.3"], ["3", "3.12.3.4", "٣.١٢"]),
        (grammar.VERSION, ["1.0", "2.13.0+cpu", "1.0rc1"], ["latest", "1.0/..", ""]),
        (grammar.PROJECT, ["a", "torch-vision", "ruamel.yaml"], ["-a", "a-", "a/b", ""]),
        (grammar.TOOL, ["uv", "py-rattler"], ["-u", ""]),
        (grammar.CONDA_NAME, ["_libgcc_mutex", "python"], [".a", "a b"]),
        (grammar.CONDA_VERSION, ["1!2.0+3"], ["1-2", ""]),
        (grammar.CONDA_BUILD, ["h1_0"], ["a-b", ""]),
    ],
)
def test_what_fits_and_what_does_not(rule: Grammar, fits: list[str], others: list[str]) -> None:
    assert [text for text in fits if not rule.pattern.fullmatch(text)] == []
    assert [text for text in others if rule.pattern.fullmatch(text)] == []
