from __future__ import annotations

import pytest

from envbuilder.recipe.importing.indexes import is_nightly, variant_of

HOST = "https://download.pytorch.org/whl"


@pytest.mark.parametrize(
    ("url", "variant", "nightly"),
    [
        (f"{HOST}/cu126", "cu126", False),
        (f"{HOST}/cpu/", "cpu", False),
        (f"{HOST}/cu118/torch_stable.html", "cu118", False),
        (f"{HOST}/lts/1.8/cu111", "cu111", False),
        (f"{HOST}/rocm6.3", "rocm6.3", False),
        (f"{HOST}/xpu", "xpu", False),
        (f"{HOST}/nightly/cu126", "cu126", True),
        (f"{HOST}/test/cpu", "cpu", True),
        (f"{HOST}/nightly", None, True),
        (f"{HOST}/torch_stable.html", None, False),
        ("https://pypi.org/simple", None, False),
        ("https://example.org/whl/cu126", None, False),
    ],
)
def test_what_an_address_says(url: str, variant: str | None, nightly: bool) -> None:
    assert (variant_of(url), is_nightly(url)) == (variant, nightly)
