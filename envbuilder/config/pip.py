"""pip's configuration on this machine, at every level, as ``pip download`` sees it.

pip has no public interface for this, and the tool must work where no pip is installed (``uv tool install``), so
the documented rules are followed here, with the same parser; the tests ask pip itself and compare.
Source: pip's user guide, "Configuration", and ``pip config debug``.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from envbuilder.errors import RecipeError
from envbuilder.util.files import read_text

CONFIG_FILE = "PIP_CONFIG_FILE"
PREFIX = "PIP_"
_SECTIONS = ("global", "download", "install")
"""Later ones take precedence. ``install`` is read, too, because users set their package sources there."""
_ALIASES = {"pypi-url": "index-url", "default-timeout": "timeout"}
"""Synonyms of pip's own options."""
_NOT_OPTIONS = ("version", "help")


def pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's options by their long names (``find-links``), as pip's configuration and *environ* set them.

    A value is the text as written; multiple values are separated by white space.

    Raises:
        RecipeError: a configuration file cannot be parsed.
    """
    by_section: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for path in pip_config_files(environ):
        for section, key, value in _read(path):
            if section in by_section and value:  # pip ignores an empty value
                by_section[section][key] = value
    options: dict[str, str] = {}
    for section in _SECTIONS:
        options |= by_section[section]
    for name, value in environ.items():
        if name.startswith(PREFIX) and value:
            key = _normalized(name.removeprefix(PREFIX))
            if key not in _NOT_OPTIONS:
                options[key] = value
    return options


def pip_config_files(environ: Mapping[str, str]) -> list[Path]:
    """List the files that pip reads, in order of increasing precedence; they need not exist."""
    named = environ.get(CONFIG_FILE)
    if named == os.devnull:
        return []
    files = [Path(folder, "pip", "pip.conf") for folder in _config_dirs(environ)]
    files.append(Path("/etc/pip.conf"))
    if named is None or not Path(named).exists():  # an explicit file replaces the user's own
        home = _home(environ)
        configured = environ.get("XDG_CONFIG_HOME")
        files += [home / ".pip" / "pip.conf"] if home else []
        if configured or home:
            files.append(Path(configured or f"{home}/.config", "pip", "pip.conf"))
    # pip calls this level "site": the virtual environment that is active, or that this program runs in.
    files.append(Path(environ.get("VIRTUAL_ENV") or sys.prefix) / "pip.conf")
    if named is not None:
        files.append(Path(named))
    return files


def _home(environ: Mapping[str, str]) -> Path | None:
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:  # this user has no passwd entry
        return None


def _config_dirs(environ: Mapping[str, str]) -> list[str]:
    return (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)


def _read(path: Path) -> Iterator[tuple[str, str, str]]:
    parser = configparser.RawConfigParser()
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path}: pip's configuration cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        reason = str(error).replace("\n", " ")
        raise RecipeError(f"{path}: pip's configuration cannot be parsed: {reason}") from error
    for section in parser.sections():
        for key, value in parser.items(section):
            yield section, _normalized(key), value or ""


def _normalized(key: str) -> str:
    key = key.lower().replace("_", "-").removeprefix("--")
    return _ALIASES.get(key, key)
