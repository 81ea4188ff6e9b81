"""Where artifacts are looked for on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from envbuilder.config.settings import ENVIRONMENT, PYTORCH_INDEX, Settings, find_settings_file, load_settings
from envbuilder.errors import RecipeError

BARE = {"PIP_CONFIG_FILE": os.devnull, "HOME": "/nonexistent"}
"""An environment in which nothing is configured."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder to work in that no envbuilder.toml is above of."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def load(folder: Path, *find_links: str, **environ: str) -> Settings:
    return load_settings(folder, find_links=find_links, environ=BARE | environ)


def refusal(folder: Path, **environ: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(folder, **environ)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_nothing_configured_means_the_public_indexes(folder: Path) -> None:
    assert load(folder) == Settings()
    assert Settings().index_url == "https://pypi.org/simple"
    assert Settings().pytorch_index == PYTORCH_INDEX == "https://download.pytorch.org/whl"


def test_a_file_may_set_everything(folder: Path) -> None:
    (folder / "ca.pem").touch()
    (folder / "me.pem").touch()
    (folder / "envbuilder.toml").write_text(
        """
        find-links = ["wheels", "/opt/house", "https://host/links.html", "file:///opt/more"]
        index-url = "https://me:secret@mirror/simple/"
        extra-index-url = ["file:///opt/simple", "https://second/simple"]
        pytorch-index = "https://mirror/pytorch/"
        store = "s3://bucket/envs/"
        constraint = ["limits.txt", "file:///etc/limits%20too.txt"]
        no-index = true
        trusted-host = ["mirror", "second:8443"]
        cert = "ca.pem"
        client-cert = "me.pem"
        proxy = "proxy:3128"
        timeout = 7
        """
    )
    assert load(folder) == Settings(
        find_links=(str(folder / "wheels"), "/opt/house", "https://host/links.html", "file:///opt/more"),
        index_url="https://me:secret@mirror/simple",
        extra_index_urls=("file:///opt/simple", "https://second/simple"),
        pytorch_index="https://mirror/pytorch",
        store="s3://bucket/envs",
        constraints=(folder / "limits.txt", Path("/etc/limits too.txt")),
        no_index=True,
        trusted_hosts=("mirror", "second:8443"),
        cert=folder / "ca.pem",
        client_cert=folder / "me.pem",
        proxy="http://proxy:3128",
        timeout=7.0,
    )


def test_the_nearest_file_upwards_holds(folder: Path) -> None:
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    (folder / "envbuilder.toml").write_text('find-links = "outer"\n')
    assert find_settings_file(inner) == folder / "envbuilder.toml"
    assert load(inner).find_links == (str(folder / "outer"),)
    (inner / "envbuilder.toml").write_text('find-links = "../inner"\n')
    assert load(inner).find_links == (str(folder / "a" / "inner"),)


def test_pips_configuration_counts(folder: Path) -> None:
    (folder / "ca.pem").touch()
    (folder / "pip.conf").write_text(
        "[global]\nindex-url = https://a/simple\nextra-index-url = file:///b\n    https://c\n"
        "find-links = /d e\nconstraint = f.txt\ntrusted-host = g h\nproxy = i:1\ntimeout = 3\ncert = ca.pem\n"
        "[install]\nno-index = yes\n"
    )
    assert load(folder, PIP_CONFIG_FILE=str(folder / "pip.conf")) == Settings(
        index_url="https://a/simple",
        extra_index_urls=("file:///b", "https://c"),
        find_links=("/d", str(folder / "e")),
        constraints=(folder / "f.txt",),
        trusted_hosts=("g", "h"),
        proxy="http://i:1",
        timeout=3.0,
        cert=folder / "ca.pem",
        no_index=True,
    )


def test_uvs_variables_count(folder: Path) -> None:
    settings = load(
        folder,
        UV_DEFAULT_INDEX="https://a/simple",
        UV_INDEX="main=https://b/simple https://c/simple?x=y",
        UV_INDEX_MAIN_USERNAME="me",
        UV_INDEX_MAIN_PASSWORD="p@ss",
        UV_EXTRA_INDEX_URL="file:///d",
        UV_FIND_LINKS="/e,https://f/links",
        UV_NO_INDEX="true",
        UV_CONSTRAINT="g.txt",
        UV_INSECURE_HOST="h i:1",
        UV_HTTP_TIMEOUT="4.5",
    )
    assert settings == Settings(
        index_url="https://a/simple",
        extra_index_urls=("https://me:p%40ss@b/simple", "https://c/simple?x=y", "file:///d"),
        find_links=("/e", "https://f/links"),
        no_index=True,
        constraints=(folder / "g.txt",),
        trusted_hosts=("h", "i:1"),
        timeout=4.5,
    )
    assert load(folder, UV_INDEX_URL="https://old/simple").index_url == "https://old/simple"


def test_the_first_that_names_a_value_decides_it(folder: Path) -> None:
    levels = {"UV_DEFAULT_INDEX": "https://uv", "PIP_INDEX_URL": "https://pip"}
    assert load(folder, **levels).index_url == "https://uv"
    (folder / "envbuilder.toml").write_text('index-url = "https://file"\npytorch-index = "https://torch"\n')
    settings = load(folder, **levels, PIP_EXTRA_INDEX_URL="https://extra")
    assert settings.index_url == "https://file"
    assert settings.extra_index_urls == ("https://extra",)
    assert settings.pytorch_index == "https://torch"
    assert load(folder, ENVBUILDER_PYTORCH_INDEX="https://mine/").pytorch_index == "https://mine"


def test_a_false_in_the_file_outweighs_a_variable(folder: Path) -> None:
    (folder / "envbuilder.toml").write_text("no-index = false\n")
    assert not load(folder, PIP_NO_INDEX="1").no_index
    assert load_settings(folder.parent, environ=BARE | {"PIP_NO_INDEX": "1"}).no_index


def test_wheelhouses_add_up_nearest_first(folder: Path) -> None:
    (folder / "envbuilder.toml").write_text('find-links = ["/file", "/both"]\n')
    settings = load(folder, "/line", "here", UV_FIND_LINKS="/uv,/both", PIP_FIND_LINKS="/pip ~/wheels")
    home = Path("~").expanduser()
    assert settings.find_links == (
        "/line", str(folder / "here"), "/file", "/both", "/uv", "/pip", str(home / "wheels")
    )  # fmt: skip


def test_an_index_may_be_named_by_its_folder(folder: Path) -> None:
    (folder / "my simple").mkdir()
    (folder / "envbuilder.toml").write_text('index-url = "my simple"\n')
    assert load(folder).index_url == (folder / "my simple").as_uri()


def test_the_certificates_of_other_tools_count_last(folder: Path) -> None:
    for name in "abc":
        (folder / name).touch()
    others = {"SSL_CERT_FILE": str(folder / "a"), "REQUESTS_CA_BUNDLE": str(folder / "b")}
    assert load(folder, **others).cert == folder / "a"
    assert load(folder, REQUESTS_CA_BUNDLE=others["REQUESTS_CA_BUNDLE"]).cert == folder / "b"
    assert load(folder, **others, PIP_CERT="c").cert == folder / "c"
    assert load(folder, SSL_CLIENT_CERT="c").client_cert == folder / "c"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('find_links = "x"', "{file}:2: unknown key 'find_links'\n  hint: did you mean 'find-links'?"),
        ('"index-urls" = "x"', "{file}:2: unknown key 'index-urls'\n  hint: did you mean 'index-url'?"),
        (
            "[tool]\nx = 1",
            "{file}:2: unknown key 'tool'\n  hint: known keys: advisories, cert, client-cert, constraint, "
            "extra-index-url, find-links, index-url, insecure-registry, no-index, proxy, pytorch-index, store, "
            "store-trust, timeout, trusted-host",
        ),
        ("timeout = 1\ntimeout = 2", "{file}: is not TOML: Cannot overwrite a value (at line 3, column 12)"),
        ("timeout = true", "{file}: timeout must be a number of seconds above 0, found True"),
        ("timeout = 0", "{file}: timeout must be a number of seconds above 0, found 0"),
        ('timeout = "soon"', "{file}: timeout must be a number of seconds above 0, found 'soon'"),
        ('no-index = "perhaps"', "{file}: no-index must be true or false, found 'perhaps'"),
        ("index-url = 3", "{file}: index-url must be text, found 3"),
        ('index-url = ""', "{file}: index-url must be text, found ''"),
        (
            'index-url = "pypi.org/simple"',
            "{file}: index-url must be the http(s):// or file:// address of an index, found 'pypi.org/simple'",
        ),
        ("find-links = [1]", "{file}: find-links must be text, found 1"),
        ('cert = "nowhere.pem"', "{file}: cert is '{folder}/nowhere.pem', which does not exist"),
        (
            'constraint = "https://x/limits.txt"',
            "{file}: constraint must be a file, found 'https://x/limits.txt'\n"
            "  hint: download it and name the file",
        ),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(folder: Path, line: str, said: str) -> None:
    file = folder / "envbuilder.toml"
    file.write_text(f"# settings\n{line}\n")
    assert refusal(folder) == said.format(file=file, folder=folder)


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "envbuilder.toml").write_bytes(b"\xff")
    said = refusal(folder)
    assert said == (
        f"{folder / 'envbuilder.toml'}: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PIP_TIMEOUT": "x"}, "pip's configuration: timeout must be a number of seconds above 0, found 'x'"),
        ({"PIP_NO_INDEX": "x"}, "pip's configuration: no-index must be true or false, found 'x'"),
        (
            {"UV_DEFAULT_INDEX": "ftp://x"},
            "UV_*: index-url must be the http(s):// or file:// address of an index, found 'ftp://x'",
        ),
        (
            {"ENVBUILDER_PYTORCH_INDEX": "x"},
            "ENVBUILDER_*: pytorch-index must be the http(s):// or file:// address of an index, found 'x'",
        ),
        ({"SSL_CERT_FILE": "/no.pem"}, "environment: cert is '/no.pem', which does not exist"),
    ],
)
def test_a_variable_that_cannot_be_understood_is_refused(
    folder: Path, environ: dict[str, str], said: str
) -> None:
    assert refusal(folder, **environ) == said


def test_every_variable_that_is_read_is_listed() -> None:
    source = Path(load_settings.__code__.co_filename).read_text()
    read = set(
        re.findall(
            r"[\"']((?:UV|ENVBUILDER|SSL)_[A-Z_]+)[\"']", source.split("ENVIRONMENT = {")[1].split("}", 1)[1]
        )
    )
    assert read - {"UV_INDEX_"} <= set(ENVIRONMENT)
    assert "UV_FIND_LINKS" in read


def test_a_store_elsewhere(folder: Path) -> None:
    (folder / "envbuilder.toml").write_text('store = "../else where"')
    assert load(folder).store == f"file://{folder.parent}/else where"
    assert load(folder, ENVBUILDER_STORE="az://box@account/envs").store == "az://box@account/envs"


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/x", "s3://key@bucket", "az://:secret@account/box"])
def test_credentials_in_a_store_s_address_are_refused_and_not_shown(folder: Path, url: str) -> None:
    (folder / "envbuilder.toml").write_text(f'store = "{url}"')
    assert refusal(folder) == (
        f"{folder}/envbuilder.toml: store holds credentials\n  hint: leave them to the library of that kind of store: "
        "a profile, a role, variables such as AWS_PROFILE"
    )


# -- keys of a remote store ------------------------------------------------------------------------

PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----"


def test_store_trust_takes_files_and_text(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "two.pub").write_text(f"ours:\n{PEM}\ntheirs:\n{PEM}\n")
    (tmp_path / "envbuilder.toml").write_text(f'store-trust = ["keys/two.pub", """{PEM}"""]')
    found = load_settings(tmp_path / "keys", environ={}).store_trust
    path = tmp_path / "keys" / "two.pub"
    assert [key.origin for key in found] == [
        str(path),
        str(path),
        f"{tmp_path}/envbuilder.toml: store-trust",
    ]
    assert {key.pem for key in found} == {PEM}


def test_store_trust_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.pub", "two.pub"):
        (tmp_path / name).write_text(PEM)
    found = load_settings(tmp_path, environ={"ENVBUILDER_STORE_TRUST": " one.pub  two.pub "}).store_trust
    assert [key.origin for key in found] == [str(tmp_path / "one.pub"), str(tmp_path / "two.pub")]
    (inline,) = load_settings(tmp_path, environ={"ENVBUILDER_STORE_TRUST": PEM}).store_trust
    assert (inline.origin, inline.pem) == ("ENVBUILDER_*: store-trust", PEM)
    assert load_settings(tmp_path, environ={"PIP_STORE_TRUST": "one.pub"}).store_trust == ()
