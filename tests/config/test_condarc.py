from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from envbuilder.config import condarc
from envbuilder.config.condarc import Condarc, read_condarc
from envbuilder.errors import RecipeError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Nothing of this machine's own configuration."""
    monkeypatch.setattr(condarc, "SYSTEM_FOLDERS", (tmp_path / "etc", tmp_path / "var"))
    return {"HOME": str(tmp_path / "home")}


def test_without_any_file_a_name_lies_where_conda_looks_for_it(environ: Mapping[str, str]) -> None:
    found = read_condarc(environ)
    assert found == Condarc()
    assert found.address("conda-forge") == "https://conda.anaconda.org/conda-forge"
    assert found.address("conda-forge/label/dev") == "https://conda.anaconda.org/conda-forge/label/dev"


def test_every_level_is_read_and_the_later_counts_more(tmp_path: Path, environ: dict[str, str]) -> None:
    home = tmp_path / "home"
    environ |= {
        "CONDA_ROOT": str(tmp_path / "root"),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "CONDA_PREFIX": str(tmp_path / "prefix"),
        "CONDARC": str(tmp_path / "named.yml"),
    }
    files = [
        tmp_path / "etc/.condarc",
        tmp_path / "etc/condarc.d/one.yaml",
        tmp_path / "var/condarc",
        tmp_path / "root/.condarc",
        tmp_path / "root/condarc.d/one.yml",
        tmp_path / "xdg/conda/condarc",
        home / ".config/conda/.condarc",
        home / ".conda/condarc",
        home / ".condarc",
        tmp_path / "prefix/.condarc",
        tmp_path / "named.yml",
    ]
    for number, path in enumerate(files):
        write(
            path,
            f"channel_alias: https://{number}.example.org/\n"
            f"custom_channels: {{own: https://{number}.example.org, n{number}: https://x.example.org}}\n"
            f"denylist_channels: [d{number}]\n",
        )
    found = read_condarc(environ)
    assert found.origin == ", ".join(map(str, files))
    assert found.channel_alias == "https://10.example.org/"
    assert found.address("other") == "https://10.example.org/other"
    assert found.address("own") == "https://10.example.org/own"
    assert set(found.custom_channels) == {"own", *(f"n{number}" for number in range(11))}
    assert found.denylist == tuple(f"d{number}" for number in reversed(range(11)))


def test_variables_count_more_than_files(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "home/.condarc", "channel_alias: https://file.example.org\nssl_verify: true\n")
    environ |= {"CONDA_CHANNEL_ALIAS": "https://variable.example.org", "CONDA_SSL_VERIFY": "false"}
    found = read_condarc(environ)
    assert (found.channel_alias, found.ssl_verify) == ("https://variable.example.org", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("false", False), ("'False'", False), ("/etc/ssl/own.pem", "/etc/ssl/own.pem")],
)
def test_certificates(tmp_path: Path, environ: Mapping[str, str], text: str, expected: bool | str) -> None:
    write(tmp_path / "home/.condarc", f"ssl_verify: {text}\n")
    assert read_condarc(environ).ssl_verify == expected


def test_variables_in_values_are_expanded(tmp_path: Path, environ: dict[str, str]) -> None:
    write(
        tmp_path / "home/.condarc",
        "custom_channels: {own: 'https://me:${OWN_PASSWORD}@example.org'}\n"
        "proxy_servers: {https: 'http://$PROXY:3128'}\n"
        "default_channels: ['https://example.org/${NOT_THERE}/main']\n",
    )
    environ |= {"OWN_PASSWORD": "secret", "PROXY": "proxy.example.org"}
    found = read_condarc(environ)
    assert found.address("own") == "https://me:secret@example.org/own"
    assert found.proxies == {"https": "http://proxy.example.org:3128"}
    assert found.default_channels == ("https://example.org/${NOT_THERE}/main",)


def test_a_custom_channel_may_be_the_top_of_a_name(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(
        tmp_path / "home/.condarc",
        "custom_channels: {team: https://example.org/t/, 'team/dev': https://dev.example.org}\n",
    )
    found = read_condarc(environ)
    assert found.address("team/stable") == "https://example.org/t/team/stable"
    assert found.address("team/dev") == "https://dev.example.org/team/dev"


def test_lists_of_channels(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(
        tmp_path / "home/.condarc",
        "custom_multichannels: {ours: [one, https://example.org/two]}\n"
        "mirrored_channels: {'https://example.org/two/': [https://a.example.org, https://b.example.org]}\n"
        "whitelist_channels: [one]\n",
    )
    found = read_condarc(environ)
    assert found.multichannels == {"ours": ("one", "https://example.org/two")}
    assert found.mirrors == {"https://example.org/two": ("https://a.example.org", "https://b.example.org")}
    assert found.allowlist == ("one",)


def test_what_is_allowed() -> None:
    url = "https://me:secret@example.org/team/"
    assert Condarc().allows("team", url)
    assert Condarc(allowlist=("team",)).allows("team", url)
    assert Condarc(allowlist=("https://example.org/team",)).allows("team", url)
    assert not Condarc(allowlist=("conda-forge",)).allows("team", url)
    assert not Condarc(denylist=("https://example.org/team/",)).allows("team", url)
    assert not Condarc(allowlist=("team",), denylist=("team",)).allows("team", url)


def test_an_empty_file_and_unknown_keys_say_nothing(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(tmp_path / "home/.condarc", "# nothing\n")
    write(tmp_path / "home/.conda/.condarc", "auto_update_conda: false\nchannels: [conda-forge]\n")
    found = read_condarc(environ)
    assert found == Condarc(origin=f"{tmp_path}/home/.conda/.condarc, {tmp_path}/home/.condarc")


BAD: dict[str, tuple[bytes, str, str | None]] = {
    "no YAML": (b"a: [\n", "is not a conda configuration: while parsing a flow node", None),
    "no text": (b"\xff\xfe\x00", "is not a conda configuration: 'utf-8' codec can't decode byte 0xff", None),
    "no mapping": (b"- a\n", "is not a conda configuration; expected keys and values", None),
    "an alias that is none": (
        b"channel_alias: [a]\n",
        "channel_alias is no text",
        "conda wants a text there",
    ),
    "channels that are no mapping": (
        b"custom_channels: [a]\n",
        "custom_channels is no mapping",
        "conda wants a mapping there",
    ),
    "a list that is none": (
        b"denylist_channels: a\n",
        "denylist_channels is no list",
        "conda wants a list there",
    ),
    "mirrors that are no list": (
        b"mirrored_channels: {a: b}\n",
        "mirrored_channels: a is no list",
        "conda wants a list there",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configuration(tmp_path: Path, environ: Mapping[str, str], case: str) -> None:
    data, message, hint = BAD[case]
    path = write(tmp_path / "home/.condarc", "")
    path.write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        read_condarc(environ)
    assert caught.value.message.startswith(f"{path}: {message}")
    assert (caught.value.hint, caught.value.exit_code) == (hint, 2)
