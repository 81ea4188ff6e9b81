"""What pip is configured to do, compared with what pip itself says."""

from __future__ import annotations

import json
import os
import venv
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from envbuilder.config.pip import pip_config_files, pip_options
from envbuilder.errors import RecipeError
from envbuilder.util.process import run


@pytest.fixture(scope="module")
def environment_with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment, so that pip has a level "site" which is ours to write."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    return folder


@pytest.fixture
def environ(tmp_path: Path, environment_with_pip: Path) -> dict[str, str]:
    (environment_with_pip / "pip.conf").unlink(missing_ok=True)
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": f"{tmp_path}/xdg-1:{tmp_path}/xdg-2",
        "VIRTUAL_ENV": str(environment_with_pip),
        "PATH": os.defpath,
    }


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


_ASK = """
import json, sys
from pip._internal.commands import create_command
values = vars(create_command(sys.argv[1]).parser.get_default_values())
print(json.dumps({name: values[name] for name in sys.argv[2:]}))
"""
_DEFAULTS = {"index-url": "https://pypi.org/simple", "timeout": "15"}
_LISTS = ("extra-index-url", "find-links", "trusted-host", "constraint")


def said_by_pip(environ: dict[str, str], command: str = "install") -> dict[str, str | list[str]]:
    """Ask pip for the values that *command*'s options have."""
    python = Path(environ["VIRTUAL_ENV"], "bin", "python")
    home_of_pip = distribution("pip").locate_file("")
    names = {
        "index-url": "index_url",
        "extra-index-url": "extra_index_urls",
        "find-links": "find_links",
        "trusted-host": "trusted_hosts",
        "constraint": "constraints",
        "no-index": "no_index",
        "cert": "cert",
        "proxy": "proxy",
        "timeout": "timeout",
    }
    answer = run(
        [str(python), "-c", _ASK, command, *names.values()], env=environ | {"PYTHONPATH": str(home_of_pip)}
    )
    values = json.loads(answer.stdout)
    return {key: _text(values[name]) for key, name in names.items()}


def said_by_us(environ: dict[str, str]) -> dict[str, str | list[str]]:
    """Bring our answer into the form of pip's."""
    options = pip_options(environ)
    said: dict[str, str | list[str]] = {key: options.get(key, "").split() for key in _LISTS}
    said |= {
        key: options.get(key, _DEFAULTS.get(key, "")) for key in ("index-url", "cert", "proxy", "timeout")
    }
    return said | {"no-index": "1" if options.get("no-index") else ""}


def _text(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return str(int(value)) if value and isinstance(value, (bool, int)) else str(value or "")


LEVELS = {
    "nothing": {},
    "every level": {
        "xdg-1/pip/pip.conf": "[global]\nindex-url = http://1\ntimeout = 1\n",
        "xdg-2/pip/pip.conf": "[global]\nindex-url = http://2\ncert = /2.pem\n[install]\nno-index = yes\n",
        "home/.pip/pip.conf": "[global]\nindex-url = http://legacy\nproxy = legacy:1\n",
        "home/.config/pip/pip.conf": "[global]\nindex-url = http://user\nfind-links = /user\n",
        "VIRTUAL_ENV/pip.conf": "[global]\nindex-url = http://site\n",
    },
    "several lines": {
        "home/.config/pip/pip.conf": (
            "[global]\nextra-index-url =\n    http://a\n    http://b  http://c\n# remark\nfind-links = /a\n  /b\n"
        )
    },
    "sections": {
        "home/.config/pip/pip.conf": (
            "[install]\ntrusted-host = install\n[download]\ntrusted-host = download\nretries = 3\n"
            "[global]\ntrusted-host = global\n"
        )
    },
    "spelling": {"home/.config/pip/pip.conf": "[global]\nIndex_Url: http://x\n--no-index = true\nempty =\n"},
    "percent": {"home/.config/pip/pip.conf": "[global]\nindex-url = http://me:p%40ss@x/%(home)s\n"},
}


@pytest.mark.parametrize("files", LEVELS.values(), ids=LEVELS.keys())
@pytest.mark.parametrize("named", ["none", "file", "missing", "null"])
def test_every_level_counts_as_in_pip(
    environ: dict[str, str], tmp_path: Path, files: dict[str, str], named: str
) -> None:
    for name, text in files.items():
        write(
            Path(name.replace("VIRTUAL_ENV", environ["VIRTUAL_ENV"]))
            if "VIRTUAL" in name
            else tmp_path / name,
            text,
        )
    write(tmp_path / "named.conf", "[global]\nindex-url = http://named\n")
    config_file = {
        "file": str(tmp_path / "named.conf"),
        "missing": str(tmp_path / "missing.conf"),
        "null": os.devnull,
    }
    if named in config_file:
        environ["PIP_CONFIG_FILE"] = config_file[named]
    assert said_by_us(environ) == said_by_pip(environ)
    assert (said_by_us(environ)["index-url"] == "http://named") == (named == "file")


def test_pip_download_has_a_section_too(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\nproxy = a:1\n[download]\nproxy = b:1\n")
    assert said_by_us(environ) == said_by_pip(environ, "download")
    assert pip_options(environ)["proxy"] == "b:1"


def test_variables_count_most(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "[install]\nfind-links = /file\nindex-url = http://file\n")
    environ |= {"PIP_FIND_LINKS": "/a /b", "PIP_NO_INDEX": "1", "PIP_INDEX_URL": "", "PIP_VERSION": "9"}
    assert said_by_us(environ) == said_by_pip(environ)
    assert pip_options(environ)["find-links"] == "/a /b"
    assert pip_options(environ)["index-url"] == "http://file"


def test_other_names_of_an_option_mean_it(environ: dict[str, str]) -> None:
    environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DEFAULT_TIMEOUT": "7", "PIP_PYPI_URL": "http://x"}
    assert pip_options(environ) == {"config-file": os.devnull, "timeout": "7", "index-url": "http://x"}


def test_the_environment_that_runs_is_the_site_level_where_none_is_active(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del environ["VIRTUAL_ENV"]
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    assert tmp_path / "prefix" / "pip.conf" in pip_config_files(environ)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"index-url = x\n", "cannot be parsed: File contains no section headers."),
        (b"[global]\nnonsense\n", "cannot be parsed: Source contains parsing errors:"),
        (
            b"[global]\nindex-url = \xff\n",
            "cannot be read: 'utf-8' codec can't decode byte 0xff in position 21",
        ),
    ],
)
def test_a_broken_file_is_named(environ: dict[str, str], tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "named.conf"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        pip_options(environ | {"PIP_CONFIG_FILE": str(path)})
    assert caught.value.message.startswith(f"{path}: pip's configuration {reason}")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2
