from __future__ import annotations

import hashlib

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.registry.checked import checked
from envbuilder.registry.documents import describe

WANTED = describe(b"content", "application/octet-stream")


def test_what_was_announced_passes() -> None:
    assert WANTED.sha256 == hashlib.sha256(b"content").hexdigest()
    assert list(checked(iter([b"con", b"tent"]), WANTED, "here", "mend it")) == [b"con", b"tent"]


@pytest.mark.parametrize(
    ("chunks", "said"),
    [([b"con"], "3 bytes"), ([b"content", b"s"], "more bytes"), ([b"CONTENT"], "7 bytes of sha256")],
)
def test_other_bytes_are_refused_at_their_end(chunks: list[bytes], said: str) -> None:
    with pytest.raises(IntegrityError, match=f"^here: the blob sha256:.* {said}") as raised:
        list(checked(iter(chunks), WANTED, "here", "mend it"))
    assert raised.value.hint == "mend it"
