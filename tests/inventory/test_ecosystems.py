"""What the ecosystems of OSV call a package, and how versions are ordered there."""

from __future__ import annotations

import itertools

import pytest
from packaging.version import InvalidVersion

from envbuilder.inventory.ecosystems import GIT, Key, keys_of, normalize, ordering, same_version, semver


@pytest.mark.parametrize(
    ("purl", "keys", "release"),
    [
        ("pkg:pypi/Ruamel_Yaml@1", {Key("PyPI", "ruamel-yaml")}, None),
        ("pkg:cargo/Time@1", {Key("crates.io", "time")}, None),
        ("pkg:npm/%40a/b@1", {Key("npm", "@a/b")}, None),
        ("pkg:maven/org.x/Y@1", {Key("Maven", "org.x:y")}, None),
        ("pkg:generic/zlib@1", {Key("OSS-Fuzz", "zlib"), Key(GIT, "zlib")}, None),
        ("pkg:bitnami/x@1", set(), None),
        (
            "pkg:deb/debian/libssl3@3.0?distro=debian-12&upstream=openssl%403.0",
            {
                *(Key("Debian", name) for name in ("openssl", "libssl3")),
                *(Key(place, "libssl3") for place in ("OSS-Fuzz", GIT)),
            },
            "12",
        ),
        (
            "pkg:rpm/almalinux/zlib@1-2.el8_10",
            {Key(place, "zlib") for place in ("AlmaLinux", "OSS-Fuzz", GIT)},
            "8",
        ),
    ],
)
def test_a_package_url_is_called_as_its_ecosystem_calls_it(
    purl: str, keys: set[Key], release: str | None
) -> None:
    assert keys_of(purl) == (keys, release)


def test_only_pypi_takes_dots_and_underscores_for_dashes() -> None:
    assert normalize("PyPI", "A_b.c") == "a-b-c"
    assert normalize("npm", "A_b.c") == "a_b.c"


@pytest.mark.parametrize(
    ("ecosystem", "kind", "rising"),
    [
        ("PyPI", "ECOSYSTEM", ["1.0rc1", "1.0", "1.10"]),
        ("conda", "ECOSYSTEM", ["1.9", "1.10"]),
        ("crates.io", "ECOSYSTEM", ["1.0.0-rc.9", "1.0.0-rc.10", "1.0.0-rc.x", "1.0.0", "1.10.0"]),
        ("AnyOther", "SEMVER", ["1.9", "1.10"]),
        ("Debian", "ECOSYSTEM", ["1.0~rc1", "1.0-1~deb12u1", "1.0-1", "1:0.1"]),
        ("Alpine", "ECOSYSTEM", ["1.3-r1", "1.3-r2"]),
        ("Rocky Linux", "ECOSYSTEM", ["1.0~rc1", "1.0-1", "1.0-10"]),
        ("Maven", "ECOSYSTEM", ["1.0-alpha-1", "1.0", "1.1"]),
    ],
)
def test_versions_are_ordered_as_the_ecosystem_orders_them(
    ecosystem: str, kind: str, rising: list[str]
) -> None:
    made = ordering(ecosystem, kind)
    assert made is not None
    keys = [made(version) for version in rising]
    assert all(one < other for one, other in itertools.pairwise(keys))


def test_an_unknown_ecosystem_orders_nothing() -> None:
    assert ordering("Bitnami", "ECOSYSTEM") is None


def test_local_versions_and_builds_do_not_count() -> None:
    made = ordering("PyPI", "ECOSYSTEM")
    assert made is not None
    assert made("2.13.0+cpu") == made("2.13.0")
    assert semver("1.2.3+build") == semver("v1.2.3")
    assert semver("1") == semver("1.0.0")


@pytest.mark.parametrize("version", ["", "x", "1.2.3.4", "1.2.3-"])
def test_what_semver_does_not_know_is_no_version(version: str) -> None:
    with pytest.raises(InvalidVersion, match="is not a SemVer version"):
        semver(version)


@pytest.mark.parametrize(
    ("ecosystem", "said", "same"),
    [
        ("OSS-Fuzz", "zlib-1.2.11", True),
        (GIT, "OpenSSL_1_2_11", True),
        (GIT, "v1.2.11", True),
        (GIT, "libxml2-1.2.11", True),
        (GIT, "zlib-1.2.12", False),
        ("PyPI", "1.2.11.0", True),
        ("PyPI", "1.2.11+local", True),
        ("npm", "1.2.11", True),
        ("npm", "1.2.11.0", False),
        (GIT, "no version", False),
    ],
)
def test_a_version_that_a_record_lists(ecosystem: str, said: str, same: bool) -> None:
    assert same_version(ecosystem, said, "1.2.11") is same
