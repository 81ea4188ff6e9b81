from __future__ import annotations

import pytest

from envbuilder.errors import RecipeError
from envbuilder.util.extras import needs_extra


def test_what_is_not_installed_is_said_with_the_extra() -> None:
    with (
        pytest.raises(RecipeError, match="audit requires no_such_library, which is not installed") as caught,
        needs_extra("proof", "audit"),
    ):
        raise ModuleNotFoundError("No module named 'no_such_library'", name="no_such_library")
    assert caught.value.hint == "in the checkout that envbuilder was installed from: pip install '.[proof]'"


def test_another_error_stays() -> None:
    with pytest.raises(ValueError, match="x"), needs_extra("proof", "audit"):
        raise ValueError("x")
