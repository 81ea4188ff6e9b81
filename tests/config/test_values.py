"""Each kind of value of a setting: what is taken, and what is refused with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuilder.config.values import (
    Layer,
    Reader,
    all_of,
    first_of,
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

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


def layer(base: Path = Path("/base"), **values: Any) -> Layer:
    return Layer(origin="envbuilder.toml", values=values, base=base)


def refusal(read: Reader[Any], value: Any, base: Path = Path("/base")) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        read(value, layer(base), "key")
    return caught.value


def test_the_first_layer_that_has_a_value_decides() -> None:
    layers = [layer(other="x"), layer(key=" two "), layer(key="three")]
    assert first_of(layers, "key", read_string, "none") == "two"
    assert first_of(layers, "gone", read_string, "none") == "none"


def test_lists_of_all_layers_are_one_and_a_single_value_is_a_list() -> None:
    layers = [layer(key=["a", "b"]), layer(), layer(key="c")]
    assert all_of(layers, "key", read_string) == ["a", "b", "c"]
    with pytest.raises(RecipeError, match=r"envbuilder\.toml: key must be text, found 5"):
        all_of([layer(key=["a", 5])], "key", read_string)


@pytest.mark.parametrize("value", ["", "  ", 5, None, ["a"], True])
def test_what_is_not_text_is_refused(value: object) -> None:
    assert refusal(read_string, value).message == f"envbuilder.toml: key must be text, found {value!r}"


def test_the_address_of_an_index(tmp_path: Path) -> None:
    (tmp_path / "simple index").mkdir()
    assert read_url("https://x.test/simple/", layer(), "key") == "https://x.test/simple"
    assert read_url("simple index", layer(tmp_path), "key") == (tmp_path / "simple index").as_uri()
    assert refusal(read_url, "gone", tmp_path).message == (
        "envbuilder.toml: key must be the http(s):// or file:// address of an index, found 'gone'"
    )
    assert "found 'ftp://x.test'" in refusal(read_url, "ftp://x.test").message
    assert "is no address: " in refusal(read_url, "http://x.test:port").message


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("s3://bucket/store/", "s3://bucket/store"),
        ("../store", "file:///store"),
        ("/a b", "file:///a b"),
        ("ssh://user@host/store", "ssh://user@host/store"),
    ],
)
def test_the_address_of_a_remote_store(said: str, address: str) -> None:
    assert read_store_address(said, layer(), "key") == address


@pytest.mark.parametrize("said", ["s3://me@bucket", "https://me:secret@host/x", "ssh://me:secret@host/x"])
def test_credentials_are_refused_and_not_repeated(said: str) -> None:
    refused = refusal(read_store_address, said)
    assert refused.message == "envbuilder.toml: key holds credentials"
    assert "secret" not in str(refused)


def test_paths_are_relative_to_their_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read_file_path("sub/../a.pem", layer(), "key") == Path("/base/a.pem")
    assert read_file_path("~/a.pem", layer(), "key") == Path("/home/me/a.pem")
    assert read_file_path("file:///a%20b", layer(), "key") == Path("/a b")
    assert read_location("https://x.test/a", layer(), "key") == "https://x.test/a"
    assert read_location("a", layer(), "key") == "/base/a"
    refused = refusal(read_file_path, "https://x.test/a.pem")
    assert refused.message == "envbuilder.toml: key must be a file, found 'https://x.test/a.pem'"
    assert refused.hint == "download it and name the file"
    (tmp_path / "a").touch()
    assert read_existing_file("a", layer(tmp_path), "key") == tmp_path / "a"
    assert refusal(read_existing_file, "b", tmp_path).message == (
        f"envbuilder.toml: key is '{tmp_path}/b', which does not exist"
    )


@pytest.mark.parametrize(
    ("value", "meant"), [(True, True), ("Yes", True), ("1", True), (1, True), ("off", False), (0, False)]
)
def test_true_and_false_in_the_spellings_of_pip(value: object, meant: bool) -> None:
    assert read_boolean(value, layer(), "key") is meant


@pytest.mark.parametrize("value", ["", "maybe", 2, None])
def test_what_is_neither_true_nor_false(value: object) -> None:
    assert refusal(read_boolean, value).message == (
        f"envbuilder.toml: key must be true or false, found {value!r}"
    )


def test_seconds() -> None:
    assert [read_seconds(value, layer(), "key") for value in (5, 0.5, "7")] == [5.0, 0.5, 7.0]
    for value in (0, -1, "x", True, float("inf"), float("nan"), None, [5]):
        assert refusal(read_seconds, value).message == (
            f"envbuilder.toml: key must be a number of seconds above 0, found {value!r}"
        )


def test_a_proxy_without_a_scheme_is_one_of_http() -> None:
    assert read_proxy("proxy:3128", layer(), "key") == "http://proxy:3128"
    assert read_proxy("https://proxy:3128", layer(), "key") == "https://proxy:3128"


# -- public keys -----------------------------------------------------------------------------------


def test_keys_from_a_file_of_several_and_as_text(tmp_path: Path) -> None:
    one, two = Team(tmp_path, "one"), Team(tmp_path, "two")
    pems = [team.public.read_text().strip() for team in (one, two)]
    (tmp_path / "both.pub").write_text("# of the team\n" + "\n".join(pems))
    found = read_store_keys("both.pub", layer(tmp_path), "key")
    assert [key.pem for key in found] == pems
    assert {key.origin for key in found} == {str(tmp_path / "both.pub")}
    (key,) = read_store_keys(pems[0], layer(tmp_path), "key")
    assert (key.origin, key.pem) == ("envbuilder.toml: key", pems[0])


def _private(folder: Path) -> str:
    return Team(folder).private.read_text()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_private, " is a private key; expected a public key"),
        (lambda _: (HELPERS / "authority.pem").read_text(), ": expected a public key, found certificate"),
        (lambda _: "no key", " is not a public key"),
        (lambda _: "-----BEGIN PUBLIC KEY-----\ncut off", " is not a public key"),
        (lambda _: None, " cannot be read: No such file or directory"),
    ],
    ids=["private", "certificate", "text", "cut off", "missing"],
)
def test_what_is_no_public_key(tmp_path: Path, write: Callable[[Path], str | None], said: str) -> None:
    text = write(tmp_path)
    if text is not None:
        (tmp_path / "key.pub").write_text(text)
    message = refusal(read_store_keys, "key.pub", tmp_path).message
    assert message.startswith(f"envbuilder.toml: key: {tmp_path / 'key.pub'}{said}")
