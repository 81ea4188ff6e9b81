"""Values of settings: what each may be, and errors that name the place where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envbuilder.config.values import (
    Layer,
    all_of,
    first_of,
    list_of,
    read_boolean,
    read_existing_file,
    read_file_path,
    read_location,
    read_proxy,
    read_seconds,
    read_store_address,
    read_store_keys,
    read_string,
    read_url,
)
from envbuilder.errors import RecipeError
from tests.helpers.trust import Team


def layer(base: Path, **values: Any) -> Layer:
    return Layer(origin="a file", values=values, base=base)


def refused(read: Any, value: object, base: Path = Path("/base")) -> str:
    with pytest.raises(RecipeError) as raised:
        read(value, layer(base), "key")
    assert raised.value.message.startswith("a file: key")
    return raised.value.message.removeprefix("a file: key")


# -- layers ----------------------------------------------------------------------------------------


def test_the_first_layer_that_has_a_value_counts(tmp_path: Path) -> None:
    layers = [layer(tmp_path), layer(tmp_path, a="first"), layer(tmp_path, a="second", b="x")]
    assert first_of(layers, "a", read_string, "default") == "first"
    assert first_of(layers, "c", read_string, "default") == "default"
    assert all_of(layers, "a", read_string) == ["first", "second"]
    assert all_of(layers, "c", read_string) == []


def test_one_value_is_a_list_of_one(tmp_path: Path) -> None:
    read = list_of(read_string)
    assert read("x", layer(tmp_path), "key") == ["x"]
    assert read(["x", " y "], layer(tmp_path), "key") == ["x", "y"]
    assert read([], layer(tmp_path), "key") == []


@pytest.mark.parametrize("value", ["", "  ", 1, None, ["x"], True])
def test_what_is_no_text(value: object) -> None:
    assert refused(read_string, value) == f" must be text, found {value!r}"


# -- numbers and switches --------------------------------------------------------------------------


def test_switches_in_any_of_pips_spellings(tmp_path: Path) -> None:
    for value in (True, "y", "Yes", "t", "TRUE", "on", "1", 1):
        assert read_boolean(value, layer(tmp_path), "key") is True
    for value in (False, "n", "No", "f", "FALSE", "off", "0", 0):
        assert read_boolean(value, layer(tmp_path), "key") is False
    assert refused(read_boolean, "perhaps") == " must be true or false, found 'perhaps'"


def test_seconds(tmp_path: Path) -> None:
    assert read_seconds("1.5", layer(tmp_path), "key") == 1.5
    assert read_seconds(3, layer(tmp_path), "key") == 3.0
    for value in (0, -1, "soon", None, True, float("inf"), float("nan")):
        assert refused(read_seconds, value) == f" must be a number of seconds above 0, found {value!r}"


# -- addresses -------------------------------------------------------------------------------------


def test_the_address_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in dex").mkdir()
    here = layer(tmp_path)
    assert read_url("https://mirror/simple/", here, "key") == "https://mirror/simple"
    assert read_url("file:///opt/simple", here, "key") == "file:///opt/simple"
    assert read_url("in dex", here, "key") == (tmp_path / "in dex").as_uri()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_url("~/in dex", here, "key") == (tmp_path / "in dex").as_uri()
    for value in ("nowhere", "ftp://mirror/simple", "s3://bucket"):
        assert refused(read_url, value, tmp_path) == (
            f" must be the http(s):// or file:// address of an index, found {value!r}"
        )
    assert ": 'https://[::1' is no address: " in refused(read_url, "https://[::1", tmp_path)
    assert "is no address" in refused(read_url, "https://me:secret@mirror:port/", tmp_path)


def test_the_address_of_a_store_holds_no_credentials(tmp_path: Path) -> None:
    here = layer(tmp_path)
    assert read_store_address("s3://bucket/envs/", here, "key") == "s3://bucket/envs"
    assert read_store_address("shared/a b", here, "key") == f"file://{tmp_path}/shared/a b"
    assert read_store_address("/mnt/x", here, "key") == "file:///mnt/x"
    assert read_store_address("ssh://me@host/x", here, "key") == "ssh://me@host/x", (
        "a user is no secret there"
    )
    for value in ("s3://me@bucket/x", "s3://me:secret@bucket", "ssh://me:secret@host/x"):
        assert refused(read_store_address, value) == " holds credentials"


def test_a_location_is_an_address_or_a_path(tmp_path: Path) -> None:
    here = layer(tmp_path)
    assert read_location("https://host/links.html", here, "key") == "https://host/links.html"
    assert read_location("wheels/../house", here, "key") == str(tmp_path / "house")


def test_a_path_is_relative_to_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = layer(tmp_path)
    assert read_file_path("a.pem", here, "key") == tmp_path / "a.pem"
    assert read_file_path("file:///etc/a%20b", here, "key") == Path("/etc/a b")
    monkeypatch.setenv("HOME", "/home/me")
    assert read_file_path("~/a.pem", here, "key") == Path("/home/me/a.pem")
    assert refused(read_file_path, "https://host/a.pem") == " must be a file, found 'https://host/a.pem'"


def test_a_file_that_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert read_existing_file("there", layer(tmp_path), "key") == tmp_path / "there"
    assert refused(read_existing_file, "gone", tmp_path) == f" is '{tmp_path}/gone', which does not exist"


def test_a_proxy_as_pip_reads_it(tmp_path: Path) -> None:
    assert read_proxy("proxy:3128", layer(tmp_path), "key") == "http://proxy:3128"
    assert read_proxy("socks5://proxy", layer(tmp_path), "key") == "socks5://proxy"


# -- keys ------------------------------------------------------------------------------------------


def test_keys_are_named_by_their_file_or_stand_there_themselves(tmp_path: Path) -> None:
    one, two = Team(tmp_path, "one"), Team(tmp_path, "two")
    both = one.public.read_text() + "\n# a remark\n" + two.public.read_text()
    (tmp_path / "both.pub").write_text(both)
    found = read_store_keys("both.pub", layer(tmp_path), "key")
    assert [key.pem for key in found] == [team.public.read_text().strip() for team in (one, two)]
    assert {key.origin for key in found} == {str(tmp_path / "both.pub")}
    (inline,) = read_store_keys(one.public.read_text(), layer(tmp_path), "key")
    assert (inline.origin, inline.pem) == ("a file: key", found[0].pem)


def test_what_is_no_public_key(tmp_path: Path) -> None:
    team = Team(tmp_path)
    assert refused(read_store_keys, str(team.private)) == (
        f": {team.private} is a private key; expected a public key"
    )
    assert refused(read_store_keys, team.private.read_text()) == (" is a private key; expected a public key")
    certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert refused(read_store_keys, certificate) == ": expected a public key, found certificate"
    (tmp_path / "text").write_text("no key")
    assert refused(read_store_keys, "text", tmp_path) == f": {tmp_path}/text is not a public key"
    assert refused(read_store_keys, "gone", tmp_path) == (
        f": {tmp_path}/gone cannot be read: No such file or directory"
    )
    assert refused(read_store_keys, ".", tmp_path).startswith(f": {tmp_path} cannot be read: ")
