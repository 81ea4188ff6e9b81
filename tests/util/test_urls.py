from __future__ import annotations

from envbuilder.util.urls import public, redacted


def test_what_a_person_is_shown_has_no_credentials() -> None:
    assert public("https://me:secret@example.org/t/ab-12/our") == "https://example.org/our"


def test_addresses_are_shown_without_credentials() -> None:
    assert redacted("https://me:secret@host/simple/x/#sha256=1") == "https://***@host/simple/x/"
    assert redacted("https://host/simple/x/") == "https://host/simple/x/"
