from __future__ import annotations

from pathlib import Path

from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.request import VerifyRequest


def test_a_choice_says_more_than_a_model() -> None:
    assert VerifyRequest(model=Path("m")).models == ModelChoice(model=Path("m"))
    choice = ModelChoice(repository=Path("r"), names=("a",))
    assert VerifyRequest(model=Path("m"), choice=choice).models == choice
