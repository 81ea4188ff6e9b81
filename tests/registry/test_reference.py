from __future__ import annotations

import pytest

from envbuilder.errors import RecipeError
from envbuilder.registry.reference import Reference, is_loopback, parse_reference

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci://host/a", Reference(host="host", repository="a")),
        ("oci://host:5000/a/b-c.d__e:v1.0", Reference(host="host:5000", repository="a/b-c.d__e", tag="v1.0")),
        ("oci://[::1]:5000/a", Reference(host="[::1]:5000", repository="a")),
        (f"oci://h.example/a@{DIGEST}", Reference(host="h.example", repository="a", digest=DIGEST)),
        (f"oci://h/a:t@{DIGEST}", Reference(host="h", repository="a", tag="t", digest=DIGEST)),
    ],
)
def test_a_reference(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert str(expected) == text
    assert expected.image == text.removeprefix("oci://")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://a/b", "is not a reference to a registry"),
        ("oci://", "it names no host"),
        ("oci://host", "is not a host name"),
        ("oci://host/", "is not a repository name"),
        ("oci://host/Upper", "'Upper' is not a repository name"),
        ("oci://host/a//b", "is not a repository name"),
        ("oci://host/../b", "is not a repository name"),
        ("oci://host/a:", "'' is not a tag"),
        (f"oci://host/a:{'x' * 129}", "is not a tag"),
        ("oci://host/a@sha256:12", "is not a digest"),
        ("oci://host/a@md5:12", "is not a digest"),
        ("oci://-host/a", "is not a host name"),
        ("oci://ho st/a", "is not a host name"),
        (f"oci://{'a' * 64}.org/a", "is not a host name"),
        (f"oci://{'a.' * 127}org/a", "is not a host name"),
        ("oci://a..b/a", "is not a host name"),
        ("oci://host:65536/a", "is not a host name"),
        ("oci://[:::::]/a", "is not a host name"),
    ],
)
def test_no_reference(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_reference(text)


def test_credentials_are_refused_and_not_shown() -> None:
    with pytest.raises(RecipeError) as raised:
        parse_reference("oci://me:secret@host/a")
    assert "secret" not in str(raised.value)
    assert "docker login" in str(raised.value)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000", "a.localhost"]
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "[::2]"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
