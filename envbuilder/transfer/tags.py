"""Tags of a registry, as aliases: what one stands for, and what it shall stand for."""

from __future__ import annotations

import re
from typing import Final

from envbuilder.errors import RecipeError, StoreError
from envbuilder.registry.connection import PUSH
from envbuilder.registry.documents import parse_manifest
from envbuilder.registry.reference import Reference, is_reference, parse_reference
from envbuilder.registry.repository import Repository
from envbuilder.store.session import Session

_HEX: Final = re.compile(r"[0-9a-f]{64}")


def resolve_tag(reference: Reference, session: Session) -> str:
    """Return the digest that *reference* stands for now.

    Raises:
        StoreError: there is none, or the registry does not answer.
    """
    with Repository(reference, session.settings) as repository:
        found = repository.manifest(reference.wanted)
        if found is None:
            raise StoreError(f"{reference.image} is not in the registry", hint="push an image first")
        return found[0].digest


def move_tag(reference: Reference, wanted: str, session: Session) -> str:
    """Have the tag of *reference* stand for what *wanted* stands for now.

    *wanted* is a tag or a digest of its repository, with or without ``sha256:``, or the reference of either.

    Returns: the digest. A reader sees the tag before or after, nothing between.

    Raises:
        RecipeError: *reference* has no tag, or *wanted* is of another repository.
        StoreError: there is no such image, or the registry refuses.
    """
    if reference.tag is None or reference.digest is not None:
        raise RecipeError(f"{reference} has no tag", hint="for instance oci://HOST/REPOSITORY:stable")
    wanted = _within(reference, wanted)
    with Repository(reference, session.settings, access=PUSH) as repository:
        found = repository.manifest(wanted)
        if found is None:
            raise StoreError(f"{repository.place} has no image {wanted}", hint="push it first")
        # What the registry calls it is its claim: the document says what it is.
        kind = parse_manifest(found[1], where=f"{repository.place}: {found[0].digest[:19]}").media_type
        repository.put_manifest(found[1], kind, reference.tag)
        return found[0].digest


def _within(reference: Reference, wanted: str) -> str:
    """Return the tag or digest that is meant, of the repository of *reference*."""
    if _HEX.fullmatch(wanted):
        return f"sha256:{wanted}"
    if not is_reference(wanted):
        return wanted
    other = parse_reference(wanted)
    if (other.host, other.repository) != (reference.host, reference.repository):
        raise RecipeError(
            f"{other} is not in the repository of {reference}: a tag stands for an image of its own repository",
            hint=f"envbuilder pull {other}, then envbuilder push ARCHIVE {reference}",
        )
    return other.wanted
