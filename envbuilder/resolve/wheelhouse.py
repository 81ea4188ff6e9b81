"""Read wheelhouses: folders of wheels, or pages of links to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.utils import InvalidWheelFilename, NormalizedName, parse_wheel_filename
from packaging.version import Version

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.fetch.http import Unavailable, open_client, read_page
from envbuilder.store.session import Session
from envbuilder.util.urls import redacted


@dataclass(frozen=True, kw_only=True, slots=True)
class HouseWheel:
    """One wheel in a wheelhouse."""

    name: NormalizedName
    version: Version
    filename: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheelhouse:
    """A wheelhouse and what lies in it."""

    url: str
    wheels: tuple[HouseWheel, ...]


def read_wheelhouses(session: Session, scratch: Path) -> tuple[Wheelhouse, ...]:
    """Return the wheelhouses of *session*, those on the network too; one that is not there is noted, as pip does.

    In *scratch* stands for a while what uv could not read as it is.

    Raises:
        ResolveError: a page of links does not answer.
    """
    found = []
    for number, link in enumerate(session.settings.find_links):
        path = local_path(link)
        if path is not None and not path.exists():
            session.reporter.note(f"there is no wheelhouse {path}")
        elif path is not None and path.is_dir():
            names = sorted(entry.name for entry in path.iterdir())
            readable = _with_plain_names(path, names, scratch / str(number))
            found.append(Wheelhouse(url=readable.absolute().as_uri(), wheels=_wheels(names)))
        else:
            found.append(Wheelhouse(url=_url(link), wheels=_wheels(_links(link, session.settings))))
    return tuple(found)


def _with_plain_names(folder: Path, names: list[str], scratch: Path) -> Path:
    """Return *folder*, or one of links into it where files still have the names that their URLs had (%2B for +)."""
    wheels = [name for name in names if name.endswith(".whl")]
    if not any("%" in name for name in wheels):
        return folder
    scratch.mkdir()
    for name in wheels:
        (scratch / unquote(name)).symlink_to((folder / name).absolute())
    return scratch


def local_path(link: str) -> Path | None:
    """Return the path that *link* names on this machine, or None for one on the network."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https"):
        return None
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(link)


def _url(link: str) -> str:
    path = local_path(link)
    return link if path is None else path.absolute().as_uri()


def _links(link: str, settings: Settings) -> list[str]:
    try:
        with open_client(settings) as client:
            return [target.filename for target in read_page(client, _url(link))]
    except Unavailable as error:
        raise ResolveError(
            f"wheelhouse {redacted(_url(link))}: {error}",
            hint="named by --find-links, envbuilder.toml, UV_FIND_LINKS, PIP_FIND_LINKS or pip's configuration",
        ) from error


def _wheels(names: list[str]) -> tuple[HouseWheel, ...]:
    found = []
    for name in names:
        filename = unquote(name)
        try:
            project, version, _, _ = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        found.append(HouseWheel(name=project, version=version, filename=filename))
    return tuple(found)
