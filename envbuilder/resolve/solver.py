"""uv as the solver: its input, its environment, and its errors explained."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from packaging.pylock import Package, Pylock, PylockSelectError, PylockValidationError
from packaging.requirements import Requirement
from uv import find_uv_bin

from envbuilder.catalog.torch import torchvision_of
from envbuilder.errors import IntegrityError, ResolveError
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import lock_text
from envbuilder.resolve.target import Target
from envbuilder.store.session import Session
from envbuilder.util.documents import LISTING, parse_toml
from envbuilder.util.files import read_regular
from envbuilder.util.process import CommandError, limited, run
from envbuilder.util.text import human

_MEMORY = 8 * 2**30
"""Limit for uv's address space, in bytes: uv keeps pages of indexes in memory, without a limit for their size."""
_SECONDS = 1800.0
"""Limit for a run of uv, in seconds."""
# The variables that uv and git get: certificates, proxies, credentials, and paths of tools. Never uv's own settings
# (UV_INDEX and others): Settings has read them already, and they must not apply twice.
_PASSED_ON = (
    *("HOME", "PATH", "TMPDIR", "USER", "LANG", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
    *("NETRC", "UV_KEYRING_PROVIDER", "UV_CACHE_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_HTTP_RETRIES"),
    *("GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "SSH_AUTH_SOCK"),
)


EPOCH = "315532800"
"""SOURCE_DATE_EPOCH of builds: 1980, the earliest time that a zip can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """One index of uv, in order of precedence."""

    name: str
    url: str
    flat: bool = False
    """A wheelhouse: a folder or page of files, not of projects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The input of uv."""

    requirements: tuple[str, ...]
    indexes: tuple[Index, ...]
    """The indexes of every package that is not in *pinned*."""
    pinned: Mapping[str, Index]
    """Projects that come from one index only."""
    constraints: tuple[str, ...] = ()
    exclude_newer: datetime.date | None = None
    previous: Lock | None = None
    upgrade: bool = False
    upgrade_packages: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    """Projects that may be built from source; all others need wheels."""
    excluded: tuple[str, ...] = ()
    """Projects that are not installed, whichever package requires them."""
    prereleases: bool = False
    """Whether pre-releases of every package are allowed."""
    interpreter: Path = Path(sys.executable)
    """The Python for builds; any if nothing is built."""


class NoSolution(ResolveError):
    """uv found no solution; ``reason`` is its message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = re.sub(r"\n.*because building from source is disabled.*", "", reason)
        self.sources = tuple(re.findall(r"Wheels are required for `([^`]+)` because building", reason))
        """Projects with sources, but without a wheel."""


class Unreachable(ResolveError):
    """An index does not respond."""


def uv_version() -> str:
    """Return the version of the uv that solves."""
    return importlib.metadata.version("uv")


def solver_environment(session: Session) -> dict[str, str]:
    """Return the environment variables that uv runs with."""
    settings, store = session.settings, session.store
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env.setdefault("PATH", os.defpath)
    store.find("tools", "uv")  # notes that it was used, so that it is not the first to be evicted
    env.setdefault("UV_CACHE_DIR", str(store.entry_path("tools", "uv")))
    env |= {
        "UV_NO_PROGRESS": "1",
        "UV_HTTP_TIMEOUT": str(max(1, round(settings.timeout))),
        "LC_ALL": "C.UTF-8",
    }
    if settings.cert is not None:
        env["SSL_CERT_DIR" if settings.cert.is_dir() else "SSL_CERT_FILE"] = str(settings.cert)
    if settings.client_cert is not None:
        env["SSL_CLIENT_CERT"] = str(settings.client_cert)
    if settings.proxy is not None:
        env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), settings.proxy)
    return env


def solve(question: Question, target: Target, session: Session) -> list[Package]:
    """Run uv; return the packages that *target* needs, each with all of its matching files.

    Raises:
        NoSolution: the requirements conflict, or no index has a package.
        Unreachable: an index does not respond.
        IntegrityError: a file that had to be read has another hash than its index says.
        ResolveError: uv failed otherwise.
    """
    with session.store.scratch("lock") as folder:
        command = _write_question(question, target, session.settings.trusted_hosts, folder)
        try:
            run(
                limited(command, _MEMORY),
                # uv builds sources whose metadata is not static.
                env={**solver_environment(session), "SOURCE_DATE_EPOCH": EPOCH},
                cwd=folder,
                timeout=_SECONDS,
            )
        except CommandError as error:
            raise _refusal(error.output, folder, question) from error
        answer = read_regular(folder / "pylock.toml", most=LISTING.size + 1)
        document = dict(parse_toml(answer, where="uv's answer", cap=LISTING).value)
    for package in document.get("packages", []):
        for source in (
            package.get("archive"),
            package.get("directory"),
            package.get("sdist"),
            package.get("vcs"),
            *package.get("wheels", []),
        ):
            if source and "path" in source:  # relative to the answer, whose folder is gone now
                source["path"] = os.path.normpath(folder / source["path"])
    return _needed(document, target)


def _write_question(
    question: Question, target: Target, trusted_hosts: Sequence[str], folder: Path
) -> list[str]:
    """Write a project for *question* into *folder*, and return the command that resolves it."""
    names = {index.name: index for index in question.pinned.values()}
    project = {
        "project": {
            "name": "the-recipe",
            "version": "0",
            "requires-python": f"=={target.minor}.*",
            "dependencies": list(question.requirements),
        },
        "tool": {
            "uv": {
                "index": [{**_index(index), "explicit": True} for index in names.values()],
                "sources": {name: {"index": index.name} for name, index in question.pinned.items()},
            }
        },
    }
    (folder / "pyproject.toml").write_text(tomli_w.dumps(project), encoding="utf-8")
    write_configuration(question.indexes, folder)
    (folder / "constraints.txt").write_text("\n".join(question.constraints), encoding="utf-8")
    (folder / "excludes.txt").write_text("\n".join(question.excluded), encoding="utf-8")
    if question.previous is not None:
        (folder / "pylock.toml").write_text(lock_text(question.previous), encoding="utf-8")
    command = [find_uv_bin(), "pip", "compile", "--config-file", "uv.toml", "--no-header", "--quiet"]
    command += ["--format", "pylock.toml", "--output-file", "pylock.toml", "--constraint", "constraints.txt"]
    command += ["--excludes", "excludes.txt"]
    # The first index that has a fitting version counts: wheelhouses, then the package index, then further ones.
    command += ["--index-strategy", "unsafe-first-match", "--no-python-downloads"]
    command += ["--python", str(question.interpreter)]
    command += ["--python-version", target.python, "--python-platform", target.uv_platform]
    command += [
        "--only-binary",
        ":all:",
        *(part for name in question.build for part in ("--no-binary", name)),
    ]
    command += [part for host in trusted_hosts for part in ("--allow-insecure-host", host)]
    if question.exclude_newer is not None:
        end = question.exclude_newer + datetime.timedelta(days=1)
        command += ["--exclude-newer", f"{end.isoformat()}T00:00:00Z"]
        # PyTorch's index does not say when a file was uploaded; there the recipe's exact version decides.
        command += [part for name in question.pinned for part in ("--exclude-newer-package", f"{name}=false")]
    command += ["--upgrade"] if question.upgrade else []
    command += ["--prerelease", "allow"] if question.prereleases else []
    command += [part for name in question.upgrade_packages for part in ("--upgrade-package", name)]
    return [*command, "pyproject.toml"]


def write_configuration(indexes: Sequence[Index], folder: Path) -> Path:
    """Write the uv.toml that makes uv know *indexes* and nothing else, and return its path."""
    entries = [_index(index) for index in indexes]
    if not entries:  # uv would take its own default
        (folder / "nothing").mkdir(exist_ok=True)
        entries.append(_index(Index(name="nothing", url=(folder / "nothing").as_uri(), flat=True)))
    entries[-1]["default"] = True
    path = folder / "uv.toml"
    path.write_text(tomli_w.dumps({"index": entries}), encoding="utf-8")
    return path


def _index(index: Index) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": index.name, "url": index.url}
    return entry | ({"format": "flat"} if index.flat else {})


def _needed(document: dict[str, Any], target: Target) -> list[Package]:
    """Pick what *target* installs; for each package uv lists every file, the best wheel is picked later."""
    try:
        lock = Pylock.from_dict(document)
        return [package for package, _ in lock.select(environment=target.markers(), tags=target.tags())]
    except (PylockValidationError, PylockSelectError) as error:
        raise ResolveError(f"uv's answer cannot be used: {error}") from error


def _refusal(output: str, folder: Path, question: Question) -> ResolveError | IntegrityError:
    text = output.replace(f"{folder}/", "")  # uv leaves credentials out of what it says itself
    causes = [line.strip().removeprefix("cause: ") for line in text.splitlines() if line.strip()]
    lines = [line for line in causes if not line.startswith("warning:")]
    said = "\n".join(lines).removeprefix("error: ").replace("the-recipe", "the recipe")
    if said.startswith("No solution found"):
        return NoSolution(said.split("\n", 1)[-1])
    if "memory allocation of" in said or "out of memory" in said:
        return ResolveError(
            f"uv ran out of memory (it gets {human(_MEMORY)} at most):\n{_indented(said)}",
            hint="an index may be sending an endless page: `envbuilder doctor` shows how each one responds",
        )
    if "Failed to fetch" in said or "error sending request" in said or "Could not connect" in said:
        hint = "check the address, proxy and certificates, or use a wheelhouse with --find-links"
        companion = re.search(r"Failed to fetch: (\S+/([\w.]+))/(torchvision|torchaudio)/", said)
        if companion and companion[3] in question.pinned:
            hint = _companion_hint(companion[3], companion[1], companion[2], question)
        return Unreachable(f"a source does not respond:\n{_indented(said)}", hint=hint)
    if "Hash mismatch" in said:
        return IntegrityError(f"a file is not what its index says:\n{_indented(said)}")
    if "Git operation failed" in said:
        return ResolveError(f"a git reference cannot be fetched:\n{_indented(said)}")
    if "Failed to build" in said:
        return ResolveError(f"a dependency has no wheel, and none can be built:\n{_indented(said)}")
    return ResolveError(f"uv failed:\n{_indented(said)}")


def _companion_hint(name: str, index: str, cuda: str, question: Question) -> str:
    """Return a hint on other sources of torchvision or torchaudio than *index*, PyTorch's index for *cuda*."""
    requirements = [Requirement(line) for line in question.requirements]
    versions = [one.version for each in requirements if each.name == "torch" for one in each.specifier]
    version = torchvision_of(versions[0]) if name == "torchvision" and len(versions) == 1 else None
    wanted = f"{name}=={version}" if version else name
    platform = "a CPU" if cuda == "cpu" else cuda
    return (
        f"builds of {name} for {platform} are on PyTorch's index only; the package index's is for the torch there, and "
        "cannot be imported beside this one. Name a mirror (pytorch-index in envbuilder.toml); or run `pip download "
        f"--no-deps --index-url {index} {wanted}` where that responds, and lock and build with --find-links and the "
        f"folder of the wheel; or take both from the package index (cuda: pypi): they run on a CPU as well, and the "
        "archive is some GB larger"
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
