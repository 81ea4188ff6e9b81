"""Where artifacts are looked for: credentials, certificates, proxies, and pages that are none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from unearth.fetchers import PyPIClient
from unearth.link import Link

from envbuilder.config.settings import Settings, load_settings
from envbuilder.errors import FetchError, RecipeError
from envbuilder.fetch import download, http, sources
from envbuilder.fetch.artifacts import fetch
from envbuilder.fetch.http import open_client
from envbuilder.fetch.sources import indexes_for
from envbuilder.lockfile.model import Artifact
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.fetch.conftest import MakeIndex, make_wheel
from tests.helpers.index_server import CERTIFICATE, Index, Trouble

WHEEL, DATA = make_wheel("demo_pkg-1.0-py3-none-any.whl", 1000)


def fetch_it(settings: Settings, store: Store) -> bytes:
    [(_, path)] = fetch([WHEEL], "pypi", Session(settings=settings, store=store))
    return path.read_bytes()


def refusal(settings: Settings, store: Store) -> str:
    """Return what the only source said."""
    with pytest.raises(FetchError) as caught:
        fetch_it(settings, store)
    return caught.value.message.split("\n", maxsplit=1)[1].strip()


def with_user(url: str, user: str) -> str:
    return url.replace("://", f"://{user}@")


def test_credentials_may_stand_in_the_address(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.credentials = "me:se@cret"
    assert fetch_it(Settings(index_url=with_user(index.url, "me:se%40cret")), empty_store) == DATA


def test_credentials_may_stand_in_netrc(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.credentials = "me:secret"
    netrc = Path(os.environ["NETRC"])
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    assert fetch_it(Settings(index_url=index.url), empty_store) == DATA


def test_credentials_may_come_from_a_keyring(
    index: Index, empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(WHEEL.filename, DATA)
    index.credentials = "me:secret"
    program = tmp_path / "keyring"
    program.write_text("#!/bin/sh\nprintf 'me\\nsecret\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # The library, where it is installed, comes before the program; and unearth asks no keyring any more in a process
    # in which one failed, as that of a machine without a desktop does in other tests.
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr("unearth.auth.KEYRING_DISABLED", False)
    assert fetch_it(Settings(index_url=index.url), empty_store) == DATA


def test_wrong_credentials_are_refused_and_never_shown(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.credentials = "me:secret"
    said = refusal(Settings(index_url=with_user(index.url, "me:wrong")), empty_store)
    shown = index.url.replace("://", "://***@")
    assert said == f"{shown}/demo-pkg/: answered 401: it wants other credentials"


def test_no_credentials_go_to_another_host(make_index: MakeIndex, empty_store: Store) -> None:
    index, elsewhere = make_index(), make_index()
    elsewhere.add(WHEEL.filename, DATA)
    index.troubles["/simple/demo-pkg/"] = [
        Trouble(status=302, headers={"Location": f"{elsewhere.url}/demo-pkg/"})
    ]
    assert fetch_it(Settings(index_url=with_user(index.url, "me:secret")), empty_store) == DATA
    assert "authorization" in index.requests[0][1]
    assert all("authorization" not in headers for _, headers in elsewhere.requests)


def test_an_authority_of_ones_own_is_trusted(make_index: MakeIndex, empty_store: Store) -> None:
    index = make_index(tls=True)
    index.add(WHEEL.filename, DATA)
    assert fetch_it(Settings(index_url=index.url, cert=CERTIFICATE), empty_store) == DATA


def test_a_trusted_host_needs_no_authority(make_index: MakeIndex, empty_store: Store) -> None:
    index = make_index(tls=True)
    index.add(WHEEL.filename, DATA)
    assert fetch_it(Settings(index_url=index.url, trusted_hosts=("127.0.0.1",)), empty_store) == DATA


def test_an_unknown_authority_is_refused(make_index: MakeIndex, empty_store: Store) -> None:
    index = make_index(tls=True)
    said = refusal(Settings(index_url=index.url), empty_store)
    assert said.startswith(f"{index.url}/demo-pkg/: [SSL: CERTIFICATE_VERIFY_FAILED] ")
    assert index.requests == []


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing\n")
    with pytest.raises(RecipeError, match=f"^{file} holds no certificates: "):
        open_client(Settings(cert=file))


def test_a_proxy_is_asked(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    settings = Settings(index_url="http://packages.invalid/simple", proxy=index.base)
    assert fetch_it(settings, empty_store) == DATA
    assert index.requests[0][1]["host"] == "packages.invalid"


def test_a_proxy_of_the_environment_is_asked(
    index: Index, empty_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", index.base)
    index.add(WHEEL.filename, DATA)
    assert fetch_it(Settings(index_url="http://packages.invalid/simple"), empty_store) == DATA


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Trouble(status=403), "answered 403: it wants other credentials"),
        (Trouble(status=404), "not found"),
        (Trouble(status=405), "answered 405 Method Not Allowed"),
        (
            Trouble(body=b"%PDF", kind="application/pdf"),
            "answered with application/pdf, not with the page of an index",
        ),
        (
            Trouble(body=b"{", kind="application/vnd.pypi.simple.v1+json"),
            "the page cannot be read: is not JSON: Expecting property name enclosed in double quotes "
            "in line 1, column 2",
        ),
        (
            Trouble(body=b"[1]", kind="application/vnd.pypi.simple.v1+json"),
            "the page cannot be read: expected an object, found a list of 1",
        ),
        (
            Trouble(body=b"\xff", kind="text/html; charset=utf-8"),
            "the page cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        (
            Trouble(status=302, headers={"Location": "gopher://x/"}),
            "Request URL has an unsupported protocol 'gopher://'.",
        ),
    ],
)
def test_a_page_that_is_none_says_what_it_is(
    index: Index, empty_store: Store, trouble: Trouble, said: str
) -> None:
    index.troubles["/simple/demo-pkg/"] = [trouble]
    assert refusal(Settings(index_url=index.url), empty_store) == f"{index.url}/demo-pkg/: {said}"


def test_a_page_is_read_once(index: Index, empty_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STREAMS", 1)
    made = [make_wheel(f"part{number}-1.0-py3-none-any.whl", 100) for number in range(3)]
    for artifact, data in made:
        index.files[artifact.filename] = data
        index.pages["/links/"].append(artifact.filename)
    settings = Settings(find_links=(f"{index.base}/links/",), no_index=True)
    assert (
        len(
            list(
                fetch(
                    [artifact for artifact, _ in made], "pypi", Session(settings=settings, store=empty_store)
                )
            )
        )
        == 3
    )
    assert len(index.asked("/links/")) == 1


def test_a_host_that_takes_no_connection_is_waited_for_once(
    make_index: MakeIndex, empty_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index() as gone:
        pass
    index = make_index()
    made = [make_wheel(f"part{number}-1.0-py3-none-any.whl", 100) for number in range(20)]
    for artifact, data in made:
        index.add(artifact.filename, data)
    tried: list[str] = []
    read_page = http.read_page

    def counting(client: PyPIClient, url: str) -> list[Link]:
        tried.append(url)
        return read_page(client, url)

    monkeypatch.setattr(sources, "read_page", counting)
    settings = Settings(index_url=gone.url, extra_index_urls=(index.url,))
    assert (
        len(
            list(
                fetch(
                    [artifact for artifact, _ in made], "pypi", Session(settings=settings, store=empty_store)
                )
            )
        )
        == 20
    )
    assert len([url for url in tried if url.startswith(gone.url)]) <= 6 * 3  # each stream, three tries


def test_near_indexes_come_first() -> None:
    settings = Settings(index_url="https://a/simple", extra_index_urls=("https://b/simple", "file:///c"))
    assert indexes_for("numpy", "cu126", settings) == ["file:///c", "https://a/simple", "https://b/simple"]
    assert indexes_for("torchvision", "cpu", settings) == ["https://download.pytorch.org/whl/cpu"]
    assert indexes_for("torchvision", "pypi", settings)[0] == "file:///c"
    assert indexes_for("numpy", "pypi", Settings(no_index=True)) == []


@pytest.mark.network
def test_this_machines_own_index_really_answers(empty_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With certificates, proxies and credentials as this machine has them."""
    monkeypatch.undo()
    six = Artifact(
        name="six",
        version="1.16.0",
        filename="six-1.16.0-py2.py3-none-any.whl",
        sha256="8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254",
        size=11053,
    )
    [(_, path)] = fetch(
        [six], "cpu", Session(settings=load_settings(Path(__file__).parent), store=empty_store)
    )
    assert path.stat().st_size == six.size
