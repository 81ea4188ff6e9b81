"""From a lock to artifacts in the store."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import FetchError, IntegrityError
from envbuilder.fetch.artifacts import fetch
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.fetch.conftest import MakeIndex, Notes, fetch_one, leftovers, make_wheel
from tests.helpers.index_server import Index, Trouble

WHEEL, DATA = make_wheel("demo_pkg-1.0-py3-none-any.whl")
OTHER = b"x" * len(DATA)
SHORT = "demo_pkg-1.0-py3-none-any.whl"


def failure(settings: Settings, store: Store, kind: type[FetchError | IntegrityError]) -> str:
    with pytest.raises(kind) as caught:
        list(fetch([WHEEL], "pypi", Session(settings=settings, store=store)))
    assert store.find_artifact(WHEEL.sha256) is None
    assert leftovers(store) == []
    assert caught.value.exit_code == {FetchError: 4, IntegrityError: 5}[kind]
    return caught.value.message


@pytest.mark.parametrize("as_json", [False, True], ids=["html", "json"])
@pytest.mark.parametrize("hashes", [False, True], ids=["unhashed", "hashed"])
def test_an_artifact_comes_from_the_package_index(
    make_index: MakeIndex, empty_store: Store, as_json: bool, hashes: bool
) -> None:
    index = make_index(as_json=as_json, hashes=hashes)
    index.add(WHEEL.filename, DATA)
    index.add("demo_pkg-0.9-py3-none-any.whl", OTHER)
    assert fetch_one(WHEEL, Settings(index_url=index.url), empty_store) == DATA
    assert [path for path, _ in index.requests] == ["/simple/demo-pkg/", f"/files/{WHEEL.filename}"]
    assert index.requests[1][1]["accept-encoding"] == "identity"


def test_artifacts_come_in_the_order_of_their_arrival(index: Index, empty_store: Store) -> None:
    made = [make_wheel(f"part{number}-1.0-py3-none-any.whl", 1000 + number) for number in range(20)]
    for artifact, data in made:
        index.add(artifact.filename, data)
    index.troubles["part19-1.0-py3-none-any.whl"] = [Trouble(hang=True)]
    settings = Settings(index_url=index.url)
    arriving = fetch(
        [artifact for artifact, _ in made], "pypi", Session(settings=settings, store=empty_store)
    )
    arrived = [next(arriving)[0].name for _ in range(19)]
    assert sorted(arrived) == sorted(artifact.name for artifact, _ in made[:19])
    index.stopped.set()  # lets go of the one that hangs: its connection closes, and it is asked for again
    assert [artifact.name for artifact, _ in arriving] == ["part19"]


def test_a_wheelhouse_counts_before_any_index(index: Index, empty_store: Store, tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    (house / WHEEL.filename).write_bytes(DATA)
    settings = Settings(find_links=(str(house),), index_url=index.url)
    assert fetch_one(WHEEL, settings, empty_store) == DATA
    assert index.requests == []


@pytest.mark.parametrize("form", ["file: folder", "file itself", "page", "file: page", "http page"])
def test_a_wheelhouse_has_many_forms(index: Index, empty_store: Store, tmp_path: Path, form: str) -> None:
    house = tmp_path / "a house"
    house.mkdir()
    (house / WHEEL.filename).write_bytes(DATA)
    page = house / "links.html"
    page.write_text(f'<a href="{WHEEL.filename}">it</a>')
    index.add(WHEEL.filename, DATA, index="links")
    location = {
        "file: folder": house.as_uri(),
        "file itself": str(house / WHEEL.filename),
        "page": str(page),
        "file: page": page.as_uri(),
        "http page": f"{index.base}/links/demo-pkg/",
    }[form]
    assert fetch_one(WHEEL, Settings(find_links=(location,), no_index=True), empty_store) == DATA


def test_a_file_saved_under_its_quoted_name_is_found(empty_store: Store, tmp_path: Path) -> None:
    artifact, data = make_wheel("torch-2.7.1+cu126-cp312-cp312-linux_x86_64.whl")
    (tmp_path / artifact.filename.replace("+", "%2B")).write_bytes(data)
    settings = Settings(find_links=(str(tmp_path),), no_index=True)
    assert fetch_one(artifact, settings, empty_store, "cu126") == data


def test_an_index_may_be_a_folder(empty_store: Store, tmp_path: Path) -> None:
    project = tmp_path / "simple" / "demo-pkg"
    project.mkdir(parents=True)
    (tmp_path / WHEEL.filename).write_bytes(DATA)
    (project / "index.html").write_text(f'<a href="../../{WHEEL.filename}#sha256={WHEEL.sha256}">it</a>')
    settings = Settings(
        index_url="http://127.0.0.1:9/simple", extra_index_urls=((tmp_path / "simple").as_uri(),)
    )
    assert fetch_one(WHEEL, settings, empty_store) == DATA  # and nobody waited for port 9


def test_a_file_of_the_right_name_with_other_bytes_is_passed_over(
    index: Index, empty_store: Store, tmp_path: Path
) -> None:
    (tmp_path / WHEEL.filename).write_bytes(OTHER)
    index.add(WHEEL.filename, DATA)
    settings = Settings(find_links=(str(tmp_path),), index_url=index.url)
    notes = Notes()
    list(fetch([WHEEL], "pypi", Session(settings=settings, store=empty_store, reporter=notes)))
    assert notes.notes == [
        f"{SHORT}: passed over sha256 {hashlib.sha256(OTHER).hexdigest()} in {tmp_path / SHORT}, "
        "the lock names other bytes"
    ]
    assert notes.done == len(DATA)


def test_wrong_bytes_everywhere_are_an_integrity_error(
    make_index: MakeIndex, empty_store: Store, tmp_path: Path
) -> None:
    index = make_index(hashes=False)
    (tmp_path / WHEEL.filename).write_bytes(b"short")
    index.add(WHEEL.filename, OTHER)
    settings = Settings(find_links=(str(tmp_path),), index_url=index.url)
    assert failure(settings, empty_store, IntegrityError) == (
        f"{SHORT}: no source has the locked content\n"
        f"  expected sha256 {WHEEL.sha256}, 300000 bytes\n"
        f"  found 5 bytes in {tmp_path / SHORT}\n"
        f"  found sha256 {hashlib.sha256(OTHER).hexdigest()} in {index.base}/files/{SHORT}"
    )


def test_other_bytes_that_an_index_announces_are_not_downloaded(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, OTHER)
    message = failure(Settings(index_url=index.url), empty_store, IntegrityError)
    assert message.endswith(
        f"\n  found sha256 {hashlib.sha256(OTHER).hexdigest()} in {index.base}/files/{SHORT}"
    )
    assert index.asked(SHORT) == []


@pytest.mark.parametrize("body", [DATA + b"more", DATA[:-1]], ids=["longer", "shorter"])
def test_a_file_of_another_length_is_wrong(index: Index, empty_store: Store, body: bytes) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(body=body)]
    message = failure(Settings(index_url=index.url), empty_store, IntegrityError)
    assert message.endswith(f"\n  found {len(body)} bytes in {index.base}/files/{SHORT}")


def test_a_download_that_breaks_off_goes_on_where_it_was(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(break_after=100_000), Trouble(break_after=50_000)]
    notes = Notes()
    [(_, path)] = fetch(
        [WHEEL], "pypi", Session(settings=Settings(index_url=index.url), store=empty_store, reporter=notes)
    )
    assert path.read_bytes() == DATA
    assert [asked.get("range") for asked in index.asked(SHORT)] == [None, "bytes=100000-", "bytes=150000-"]
    assert notes.done == len(DATA)


def test_a_server_without_ranges_is_asked_again_from_the_start(
    make_index: MakeIndex, empty_store: Store
) -> None:
    index = make_index(ranges=False)
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(break_after=100_000), Trouble(break_after=200_000)]
    notes = Notes()
    [(_, path)] = fetch(
        [WHEEL], "pypi", Session(settings=Settings(index_url=index.url), store=empty_store, reporter=notes)
    )
    assert path.read_bytes() == DATA
    assert len(index.asked(SHORT)) == 3
    assert notes.done == len(DATA)


def test_a_file_put_together_from_two_files_is_downloaded_again(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(body=OTHER, break_after=1000)]  # one mirror of two is stale
    assert fetch_one(WHEEL, Settings(index_url=index.url), empty_store) == DATA
    assert [asked.get("range") for asked in index.asked(SHORT)] == [None, "bytes=1000-", None]


def test_an_end_of_the_connection_is_no_end_of_the_file(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(unmeasured=True, break_after=1000), Trouble(unmeasured=True)]
    assert fetch_one(WHEEL, Settings(index_url=index.url), empty_store) == DATA
    assert [asked.get("range") for asked in index.asked(SHORT)] == [None, "bytes=1000-"]


def test_a_file_that_does_not_end_is_given_up(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(unmeasured=True, body=DATA + OTHER)]
    message = failure(Settings(index_url=index.url), empty_store, IntegrityError)
    assert message.endswith(f"\n  found more than 300000 bytes in {index.base}/files/{SHORT}")


@pytest.mark.parametrize(
    "second",
    [Trouble(span="bytes 0-299999/300000"), Trouble(body=b"shorter by now")],
    ids=["another range", "no such range"],
)
def test_a_server_that_will_not_go_on_is_asked_from_the_start(
    index: Index, empty_store: Store, second: Trouble
) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(break_after=1000), second]
    assert fetch_one(WHEEL, Settings(index_url=index.url), empty_store) == DATA
    assert [asked.get("range") for asked in index.asked(SHORT)] == [None, "bytes=1000-", None]


def test_a_redirect_to_nowhere_is_an_error(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(status=302, headers={"Location": index.url})] * 100
    index.troubles["/simple"] = [Trouble(status=302, headers={"Location": f"/files/{SHORT}"})] * 100
    said = failure(Settings(index_url=index.url), empty_store, FetchError)
    assert said.endswith(f"{index.base}/files/{SHORT}: Exceeded maximum allowed redirects.")


def test_a_file_that_vanishes_is_passed_over(
    index: Index, empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.isfile", lambda path: True)
    settings = Settings(find_links=(str(tmp_path),), no_index=True)
    said = failure(settings, empty_store, FetchError)
    assert said.endswith(f"\n  {tmp_path / SHORT}: cannot be read: No such file or directory")


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_server_that_is_busy_is_asked_again(index: Index, empty_store: Store, status: int) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles["/simple/demo-pkg/"] = [Trouble(status=status)]
    index.troubles[SHORT] = [Trouble(status=status)] * 3
    assert fetch_one(WHEEL, Settings(index_url=index.url), empty_store) == DATA
    assert len(index.asked("/simple/demo-pkg/")) == 2
    assert len(index.asked(SHORT)) == 4


def test_a_server_that_stays_busy_is_an_error(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(status=503)] * 100
    assert failure(Settings(index_url=index.url), empty_store, FetchError) == (
        f"{SHORT} (sha256 {WHEEL.sha256}) could not be downloaded:\n"
        f"  {index.base}/files/{SHORT}: answered 503 Service Unavailable"
    )
    assert len(index.asked(SHORT)) == 6


def test_the_network_gone_in_the_middle_is_an_error(make_index: MakeIndex, empty_store: Store) -> None:
    index = make_index()
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(break_after=1000)] + [Trouble(break_after=0)] * 100
    assert failure(Settings(index_url=index.url), empty_store, FetchError) == (
        f"{SHORT} (sha256 {WHEEL.sha256}) could not be downloaded:\n"
        f"  {index.base}/files/{SHORT}: peer closed connection without sending complete message body "
        "(received 0 bytes, expected 299000) after 1000 of 300000 bytes"
    )


def test_no_server_at_all_is_an_error(make_index: MakeIndex, empty_store: Store) -> None:
    with Index() as gone:
        pass
    assert failure(Settings(index_url=gone.url), empty_store, FetchError) == (
        f"{SHORT} (sha256 {WHEEL.sha256}) could not be downloaded:\n"
        f"  {gone.url}/demo-pkg/: [Errno 111] Connection refused"
    )


def test_a_server_that_says_nothing_is_given_up(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(hang=True)] * 100
    settings = Settings(index_url=index.url, timeout=0.05)
    assert failure(settings, empty_store, FetchError).endswith(f"/files/{SHORT}: no answer in time")


def test_every_source_says_why_it_has_nothing(index: Index, empty_store: Store, tmp_path: Path) -> None:
    index.add("demo_pkg-0.9-py3-none-any.whl", OTHER)
    settings = Settings(
        find_links=(str(tmp_path), str(tmp_path / "nowhere")),
        index_url=index.url,
        extra_index_urls=(f"{index.base}/none", f"{index.base}/page"),
    )
    index.pages["/page/demo-pkg/"] = []
    assert failure(settings, empty_store, FetchError) == (
        f"{SHORT} (sha256 {WHEEL.sha256}) could not be downloaded:\n"
        f"  {tmp_path}: not found\n"
        f"  {tmp_path / 'nowhere'}: no such folder\n"
        f"  {index.url}/demo-pkg/: not found\n"
        f"  {index.base}/none/demo-pkg/: not found\n"
        f"  {index.base}/page/demo-pkg/: not found"
    )
    no_source = failure(Settings(no_index=True), empty_store, FetchError)
    assert no_source == f"{SHORT} (sha256 {WHEEL.sha256}) could not be downloaded: no source is configured"


def test_the_torch_family_comes_from_pytorchs_index_only(make_index: MakeIndex, empty_store: Store) -> None:
    package_index, pytorch = make_index(), make_index()
    torch, torch_data = make_wheel("torch-2.7.1+cu126-cp312-cp312-linux_x86_64.whl")
    package_index.add(torch.filename, torch_data)
    package_index.add(WHEEL.filename, DATA)
    pytorch.add(WHEEL.filename, DATA, index="whl/cu126")
    settings = Settings(index_url=package_index.url, pytorch_index=f"{pytorch.base}/whl")
    with pytest.raises(FetchError) as caught:
        list(fetch([torch], "cu126", Session(settings=settings, store=empty_store)))
    assert caught.value.message.endswith(f"  {pytorch.base}/whl/cu126/torch/: not found")
    pytorch.add(torch.filename, torch_data, index="whl/cu126")
    pytorch.requests.clear()
    assert len(list(fetch([torch, WHEEL], "cu126", Session(settings=settings, store=empty_store)))) == 2
    assert [path for path, _ in pytorch.requests] == ["/whl/cu126/torch/", f"/files/{torch.filename}"]
    assert [path for path, _ in package_index.requests] == ["/simple/demo-pkg/", f"/files/{SHORT}"]


def test_the_package_indexs_own_torch_comes_from_there(make_index: MakeIndex, empty_store: Store) -> None:
    package_index, pytorch = make_index(), make_index()
    torch, data = make_wheel("torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    package_index.add(torch.filename, data)
    settings = Settings(index_url=package_index.url, pytorch_index=f"{pytorch.base}/whl")
    assert fetch_one(torch, settings, empty_store, "pypi") == data
    assert pytorch.requests == []


def test_two_fetches_at_once_share_a_store(index: Index, empty_store: Store) -> None:
    made = [make_wheel(f"part{number}-1.0-py3-none-any.whl", 50_000) for number in range(8)]
    for artifact, data in made:
        index.add(artifact.filename, data)
    results: list[int] = []

    def once() -> None:
        results.append(
            len(
                list(
                    fetch(
                        [a for a, _ in made],
                        "pypi",
                        Session(settings=Settings(index_url=index.url), store=empty_store),
                    )
                )
            )
        )

    threads = [threading.Thread(target=once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [8, 8]
    for artifact, data in made:
        found = empty_store.find_artifact(artifact.sha256)
        assert found is not None
        assert found.read_bytes() == data
    assert leftovers(empty_store) == []


def test_a_caller_that_stops_early_leaves_nothing_running(index: Index, empty_store: Store) -> None:
    quick, data = make_wheel("quick-1.0-py3-none-any.whl", 5000)
    index.add(quick.filename, data)
    index.add(WHEEL.filename, DATA)
    index.troubles[SHORT] = [Trouble(drip=True)]
    arriving = fetch(
        [quick, WHEEL], "pypi", Session(settings=Settings(index_url=index.url), store=empty_store)
    )
    assert next(arriving)[0] == quick
    arriving.close()  # type: ignore[attr-defined]  # fetch() promises an iterator, and returns a generator
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]
    assert leftovers(empty_store) == []


def test_a_failure_ends_the_other_downloads_soon(index: Index, empty_store: Store) -> None:
    slow, data = make_wheel("slow-1.0-py3-none-any.whl", 400_000)
    index.add(slow.filename, data)
    index.troubles[slow.filename] = [Trouble(hang=True)]
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"demo_pkg-1\.0"):
        list(fetch([slow, WHEEL], "pypi", Session(settings=Settings(index_url=index.url), store=empty_store)))
    assert time.monotonic() - began < 10  # not the timeout of 60 seconds


def test_a_read_only_store_is_passed_by(index: Index, tmp_path: Path) -> None:
    index.add(WHEEL.filename, DATA)
    (tmp_path / "kept").mkdir()
    store = Store(root=tmp_path / "kept", readonly=True, overflow=tmp_path / "overflow")
    assert fetch_one(WHEEL, Settings(index_url=index.url), store) == DATA
    assert list((tmp_path / "kept").iterdir()) == []
