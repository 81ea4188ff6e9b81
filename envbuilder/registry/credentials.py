"""Credentials of registries, as docker and podman keep them: a file of logins, or a helper that is asked.

``docker login`` writes ``config.json``: ``auths`` holds logins, ``credHelpers`` and ``credsStore`` name programs
``docker-credential-NAME`` that hold them (docker-credential-helpers' protocol: the host on standard input, JSON back).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.errors import StoreError
from envbuilder.util.documents import DocumentError, Record, load_json, parse_json
from envbuilder.util.process import capture, started
from envbuilder.util.watchdog import kill_sessions

_HUB: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEY: Final = "https://index.docker.io/v1/"
SECONDS: Final = 60.0
"""How long a helper may take: some ask their user."""
_TOKEN_USER: Final = "<token>"
_NOT_FOUND: Final = ("credentials not found", "no credentials")
"""What helpers say where they have none (docker-credential-helpers, ``credentials.NewErrCredentialsNotFound``)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials, which are never shown."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
    """Instead of a password: a refresh token of OAuth 2."""

    def basic(self) -> str:
        """Return the header's value for HTTP's basic scheme."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def config_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """List possible files of logins, in order of precedence."""
    home = environ.get("HOME")
    found = [Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []
    if environ.get("DOCKER_CONFIG"):
        found.append(Path(environ["DOCKER_CONFIG"]) / "config.json")
    elif home:
        found.append(Path(home) / ".docker" / "config.json")
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    if home:
        found.append(Path(home) / ".config" / "containers" / "auth.json")
    return found


def find_credentials(
    host: str, repository: str, *, environ: Mapping[str, str] = os.environ
) -> Credentials | None:
    """Return the credentials for a repository of *host*; None: there is no login.

    Raises:
        StoreError: a file of logins cannot be understood, or a helper fails. What they hold is not in the message.
    """
    for path in config_files(environ):
        try:
            config = load_json(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        except DocumentError as error:
            raise StoreError(
                f"{path}: {error.reason}", hint=f"`docker login {host}` writes it again"
            ) from error
        found = _in_config(config, path, host, repository, environ)
        if found is not None:
            return found
    return None


def _in_config(
    config: Record, path: Path, host: str, repository: str, environ: Mapping[str, str]
) -> Credentials | None:
    try:
        for key in _keys(host):
            if "credHelpers" in config and key in config.record("credHelpers"):
                return _ask(config.record("credHelpers").text(key), key, environ)
        found = _in_auths(config, host, repository)
        if found is None and "credsStore" in config:
            key = _HUB_KEY if host in _HUB else host
            found = _ask(config.text("credsStore"), key, environ)
        return found
    except DocumentError as error:
        # Its text would show the value that is wrong, which may be a password.
        raise StoreError(
            f"{path}: {error.path.partition('.')[0]} is not in docker's format",
            hint=f"`docker login {host}` writes it again",
        ) from None


def _keys(host: str) -> list[str]:
    """List the names that a host's login may have."""
    if host in _HUB:
        return [_HUB_KEY, *_HUB]
    return [
        host,
        f"https://{host}",
        f"https://{host}/",
        f"https://{host}/v1/",
        f"https://{host}/v2/",
        f"http://{host}",
    ]


def _in_auths(config: Record, host: str, repository: str) -> Credentials | None:
    if "auths" not in config:
        return None
    auths = config.record("auths")
    parts = repository.split("/")
    # podman keeps logins of parts of a registry, too: the longest counts.
    namespaced = [f"{host}/{'/'.join(parts[:n])}" for n in range(len(parts), 0, -1)]
    for key in (*namespaced, *_keys(host)):
        if key not in auths:
            continue
        found = auths.record(key)
        token = found.unicode_text("identitytoken") if "identitytoken" in found else ""
        if "auth" in found:
            return _decoded(found, token)
        if "username" in found and "password" in found:
            return Credentials(found.unicode_text("username"), found.unicode_text("password"), token)
        if token:
            return Credentials("", "", token)
    return None


def _decoded(found: Record, token: str) -> Credentials:
    try:
        text = base64.b64decode(found.unicode_text("auth"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        found.fail("auth", "is not base64")
    user, colon, password = text.partition(":")
    if not colon:
        found.fail("auth", "has no password")
    return Credentials(user, password.rstrip("\0"), token)


def _ask(helper: str, key: str, environ: Mapping[str, str]) -> Credentials | None:
    """Ask a credential helper."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise StoreError(
            f"the credential helper {helper[:80]!r} is no name", hint="docker's config.json names it"
        )
    try:
        with started(
            [program, "get"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it did not read its input: its answer is used
                process.stdin.write(key.encode())
                process.stdin.close()
            said, told = bytearray(), bytearray()
            stopped = capture(process, (said, told), SECONDS)
            if stopped is not None:
                kill_sessions([process.pid])
                raise StoreError(
                    f"{program} {stopped}, and was stopped",
                    hint=f"it has {SECONDS:g} s; if it waits for input, unlock it first",
                )
    except FileNotFoundError:
        raise StoreError(
            f"{program}, which docker's config.json names, is not installed", hint="install it"
        ) from None
    except OSError as error:
        raise StoreError(f"{program} cannot be run: {error.strerror or error}") from None
    if process.returncode:
        text = said.decode(errors="replace").lower()
        if any(one in text for one in _NOT_FOUND):
            return None
        raise StoreError(
            f"{program} failed with exit code {process.returncode}", hint=f"`docker login {key}`"
        )
    try:
        found = parse_json(bytes(said), where=program)
        user, secret = found.unicode_text("Username"), found.unicode_text("Secret")
    except DocumentError:
        raise StoreError(f"{program} did not answer with credentials") from None
    return Credentials("", "", secret) if user == _TOKEN_USER else Credentials(user, secret)
