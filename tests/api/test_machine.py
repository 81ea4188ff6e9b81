from __future__ import annotations

from envbuilder import api


def test_doctor_needs_no_recipes() -> None:
    diagnosis = api.doctor()
    assert [title for title, _, _ in diagnosis.tables()][:2] == ["Interpreters", "Machine"]
    assert diagnosis.recipes == ()
