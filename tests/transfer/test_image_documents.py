"""What is about an image: of whatever others attach, what is about the archive comes along, and nothing else counts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.images.annotations import ARCHIVE
from envbuilder.images.layout import Layout
from envbuilder.images.write import write_image
from envbuilder.registry import connection
from envbuilder.registry.documents import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    EMPTY,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
    describe,
)
from envbuilder.registry.reference import Reference, parse_reference
from envbuilder.registry.referrers import attach, keep_listed, reading, referrers
from envbuilder.registry.repository import Repository
from envbuilder.store.session import Session
from envbuilder.transfer.archives import Transfer
from envbuilder.transfer.image_documents import PROVENANCE, REPORT, SBOM
from envbuilder.transfer.images import pull_image, push_image
from envbuilder.transfer.tags import move_tag
from envbuilder.util.files import file_sha256
from tests.helpers import tars
from tests.helpers.images import write_layers
from tests.helpers.notes import Notes
from tests.helpers.registries import Faulty, Handler, faulty_registry, on
from tests.helpers.small import Small, copy_small
from tests.helpers.trust import Team

TITLE = {"org.opencontainers.image.title": "x"}


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Faulty]:
    monkeypatch.setattr(connection, "sleep", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with faulty_registry() as registry:
        yield registry


@pytest.fixture
def notes() -> Notes:
    return Notes()


@dataclasses.dataclass(frozen=True)
class Made:
    """An archive and its image, made once: nothing of both is changed."""

    session: Session
    archive: Path
    layout: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, built_small: Small) -> Made:
    folder = tmp_path_factory.mktemp("made")
    small = copy_small(built_small, folder)
    session = Session(settings=small.settings, store=small.store())
    archive = small.build(store=session.store).archive
    write_image([archive], folder / "image", session)
    return Made(session=session, archive=archive, layout=folder / "image")


@pytest.fixture
def session(made: Made, notes: Notes) -> Session:
    return dataclasses.replace(made.session, reporter=notes)


@pytest.fixture
def archive(made: Made, tmp_path: Path) -> Path:
    """The archive alone, in a folder that the test may write to."""
    (tmp_path / "envs").mkdir()
    return Path(shutil.copy(made.archive, tmp_path / "envs"))


@pytest.fixture
def image(made: Made, tmp_path: Path) -> Path:
    """The image, pushed without an SBOM."""
    return Path(shutil.copytree(made.layout, tmp_path / "image"))


@pytest.fixture
def target(faulty: Faulty) -> Reference:
    return parse_reference(f"oci://{faulty.host}/a:v1")


def report_of(sha256: str, path: Path) -> Path:
    path.write_text(json.dumps({"sha256": sha256, "passed": True}))
    return path


def top_of(pushed: Transfer, faulty: Faulty) -> Descriptor:
    digest = str(pushed.image).partition("@")[2]
    return Descriptor(media_type=MANIFEST, digest=digest, size=len(faulty.manifests[digest][1]))


def attach_two_layers(repository: Repository, subject: Descriptor, kind: str) -> None:
    """Attach an artifact of two documents, as other tools may."""
    bodies = [describe(text, kind) for text in (b"{}", b"[]")]
    empty = describe(b"{}", EMPTY)
    for one, text in zip((empty, *bodies), (b"{}", b"{}", b"[]"), strict=True):
        repository.upload(one, reading(text))
    manifest = Manifest(config=empty, layers=tuple(bodies), subject=subject, artifact_type=kind)
    repository.put_manifest(manifest.text(), MANIFEST)


# -- push ------------------------------------------------------------------------------------------


def test_reports_of_a_layout_are_attached_or_refused(
    target: Reference, archive: Path, image: Path, session: Session, tmp_path: Path
) -> None:
    report = report_of(file_sha256(archive), tmp_path / "report.json")
    assert "report.json" in push_image(image, target, session, reports=[report]).sent
    (found,) = pull_image(target, tmp_path / "pulled", session).reports
    assert found.read_bytes() == report.read_bytes()
    with pytest.raises(IntegrityError, match=r"is of the archive 0000"):
        push_image(image, target, session, reports=[report_of("0" * 64, tmp_path / "other.json")])
    write_layers(tmp_path / "foreign", [tars.file("a", b"x") + bytes(1024)])
    with pytest.raises(RecipeError, match="the image does not say of which archive it is"):
        push_image(tmp_path / "foreign", target, session, reports=[report])


def test_a_report_is_attached_to_the_platform_that_it_is_of(
    faulty: Faulty, target: Reference, archive: Path, image: Path, session: Session, tmp_path: Path
) -> None:
    layout = Layout(image)
    (ours,) = layout.index().manifests
    layer = tars.file("a", b"x") + bytes(1024)
    other = write_layers(image, [layer], annotations={ARCHIVE: "1" * 64}, config={"architecture": "arm64"})
    listed = [
        dataclasses.replace(other, platform=Platform(os="linux", architecture="arm64")),
        dataclasses.replace(ours, annotations={}),
    ]
    text = Index(manifests=tuple(listed)).text()
    layout.name(layout.put(text, describe(text, INDEX)), "both")
    reports = [
        report_of(file_sha256(archive), tmp_path / "ours.json"),
        report_of("1" * 64, tmp_path / "other.json"),
    ]
    push_image(image, target, session, name="both", reports=reports)
    with Repository(target, session.settings) as repository:
        for one in (ours, other):
            assert [found.artifact_type for found in referrers(repository, one.digest)] == [REPORT]
    (found,) = pull_image(target, tmp_path / "pulled", session).reports
    assert json.loads(found.read_text())["sha256"] == file_sha256(archive)


def test_an_sbom_of_another_tool_is_no_reason_not_to_attach_ours(
    faulty: Faulty,
    target: Reference,
    archive: Path,
    image: Path,
    session: Session,
    tmp_path: Path,
    notes: Notes,
) -> None:
    top = top_of(push_image(image, target, session), faulty)
    foreign = json.dumps({"bomFormat": "CycloneDX", "metadata": {"component": {"name": "x"}}}).encode()
    with Repository(target, session.settings) as repository:
        attach(repository, top, foreign, SBOM, annotations=TITLE)
        attach_two_layers(repository, top, SBOM)
    assert f"{archive.name}.cdx.json" in push_image(archive, target, session).sent
    again = push_image(archive, target, session)
    assert again.sent == (), "and once it is there, it is not made again"
    pulled = pull_image(target, tmp_path / "pulled", session)
    sboms = list((tmp_path / "pulled").glob("*.cdx.json"))
    assert [path.name for path in sboms] == [f"{archive.name}.cdx.json"]
    component = json.loads(sboms[0].read_text())["metadata"]["component"]
    assert component["version"] == pulled.sha256[:12]
    said = [note for note in notes.notes if note.startswith("skipped: ")]
    assert len(said) == 2
    assert any("is not a single document" in note for note in said)
    assert any("is not about the archive" in note for note in said)


# -- pull ------------------------------------------------------------------------------------------


def test_what_is_about_something_else_is_not_placed(
    faulty: Faulty, target: Reference, archive: Path, image: Path, session: Session, tmp_path: Path
) -> None:
    top = top_of(push_image(image, target, session), faulty)
    api.attest(archive, key=Team(tmp_path / "team").private)
    other = tmp_path / "other.tar.gz"
    provenance = next(archive.parent.glob("*.provenance*")).read_bytes()
    with Repository(target, session.settings) as repository:
        attach(repository, top, b'{"sha256": "' + b"0" * 64 + b'"}', REPORT, annotations=TITLE)
        attach(repository, top, b"no report", REPORT, annotations=TITLE)
        attach(repository, top, b"no provenance", PROVENANCE, annotations=TITLE)
        # Of another image, and listed by somebody as if it were of this one.
        elsewhere = describe(b"{}", MANIFEST)
        body = json.dumps({"sha256": file_sha256(archive)}).encode()
        listed, _ = attach(repository, elsewhere, body, REPORT, annotations=TITLE)
        repository.put_manifest(Index(manifests=(listed,)).text(), INDEX, top.digest.replace(":", "-"))
        attach(repository, top, provenance, PROVENANCE, annotations=TITLE)
    assert not other.exists()
    pulled = pull_image(target, tmp_path / "pulled", session)
    assert pulled.reports == ()
    assert [path.read_bytes() for path in pulled.provenances] == [provenance]


def test_all_pages_are_read_and_what_others_attach_does_not_push_ours_out(
    faulty: Faulty, target: Reference, archive: Path, image: Path, session: Session, tmp_path: Path
) -> None:
    report = report_of(file_sha256(archive), tmp_path / "report.json")
    push_image(image, target, session, reports=[report])

    def paged(handler: Handler) -> bool:
        if not handler.path.partition("?")[0].startswith("/v2/a/referrers/"):
            return False
        path, _, page = handler.path.partition("?page=")
        others = [
            describe(f"{page}-{one}".encode(), MANIFEST, artifact_type="application/x").json()
            for one in range(50)
        ]
        if page == "2":
            return False
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": others}
        link = f'<{path}?page={int(page or 0) + 1}>; rel="next"'
        handler.reply(200, json.dumps(body).encode(), Content_Type=INDEX, Link=link)
        return True

    faulty.faults.append(paged)
    assert len(pull_image(target, tmp_path / "pulled", session).reports) == 1


def test_an_sbom_that_lies_there_is_not_replaced(
    target: Reference, archive: Path, session: Session, tmp_path: Path
) -> None:
    push_image(archive, target, session)
    place = tmp_path / "pulled" / f"{archive.name}.cdx.json"
    place.parent.mkdir()
    place.write_text("mine")
    pull_image(target, place.parent, session)
    assert place.read_text() == "mine"
    (theirs,) = (path for path in place.parent.glob("*.cdx.json") if path != place)
    assert "CycloneDX" in theirs.read_text()


# -- registries without a list of referrers -----------------------------------------------------------


def test_an_entry_that_another_process_undoes_is_listed_again(
    faulty: Faulty, target: Reference, archive: Path, image: Path, session: Session, tmp_path: Path
) -> None:
    faulty.referrers = False
    foreign = describe(b"of another process", MANIFEST)
    reports = []
    for number in range(2):
        path = report_of(file_sha256(archive), tmp_path / f"report-{number}.json")
        path.write_text(path.read_text() + " " * number)
        reports.append(path)
    puts: list[str] = []

    def undo(handler: Handler) -> bool:
        """Write the index as if it had been read before the first entry, once that is in it."""
        if handler.command == "PUT" and "/manifests/sha256-" in handler.path:
            puts.append(handler.path.rpartition("/")[2])
        elif puts and handler.command == "POST":
            text = Index(manifests=(foreign,)).text()
            faulty.manifests[puts[0]] = (INDEX, text)
            puts.clear()
            faulty.faults.remove(undo)
        return False

    faulty.faults.append(undo)
    top = top_of(push_image(image, target, session, reports=reports), faulty)
    with Repository(target, session.settings) as repository:
        listed = {one.descriptor.digest for one in referrers(repository, top.digest)}
        assert undo not in faulty.faults
        assert len(listed) == 3, "both reports, and the other's"
        assert foreign.digest in listed
        before = len(faulty.requests)
        keep_listed(repository, top.digest, ())
        assert not [one for one in faulty.requests[before:] if one.startswith("PUT")]


# -- what a document is called -----------------------------------------------------------------------


def renamed(faulty: Faulty, **changes: Any) -> bytes:
    """Let the tag name the same manifest with other fields."""
    _, data = faulty.manifests["v1"]
    body = json.dumps({**json.loads(data), **changes}).encode()
    kind = str(changes.get("mediaType", MANIFEST))
    faulty.manifests["v1"] = faulty.manifests[f"sha256:{hashlib.sha256(body).hexdigest()}"] = (kind, body)
    return body


def test_a_manifest_list_of_docker_s(
    faulty: Faulty, target: Reference, archive: Path, image: Path, session: Session, tmp_path: Path
) -> None:
    push_image(image, target, session)
    body = renamed(faulty, mediaType=DOCKER_MANIFEST)
    one = describe(body, DOCKER_MANIFEST, platform=Platform(os="linux", architecture="amd64"))
    text = Index(manifests=(one,), media_type=DOCKER_INDEX).text()
    faulty.manifests["v1"] = (DOCKER_INDEX, text)
    pulled = pull_image(target, tmp_path / "pulled", session)
    assert pulled.archive.read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("called", [INDEX, DOCKER_MANIFEST, DOCKER_INDEX])
def test_a_document_that_is_not_what_it_is_called(
    called: str, faulty: Faulty, target: Reference, image: Path, session: Session, tmp_path: Path
) -> None:
    push_image(image, target, session)
    faulty.manifests["v1"] = (called, faulty.manifests["v1"][1])
    with pytest.raises(IntegrityError, match=f"is called {called.replace('+', '.')}, and it is "):
        pull_image(target, tmp_path / "pulled", session)
    assert not (tmp_path / "pulled").exists()
    move_tag(dataclasses.replace(target, tag="stable"), "v1", session)
    assert faulty.manifests["stable"][0] == MANIFEST, "a tag is moved by what the document says"


def test_a_listed_manifest_that_is_not_what_the_index_says(
    faulty: Faulty, target: Reference, image: Path, session: Session, tmp_path: Path
) -> None:
    push_image(image, target, session)
    _, data = faulty.manifests["v1"]
    platform = Platform(os="linux", architecture="amd64")
    text = Index(manifests=(describe(data, DOCKER_MANIFEST, platform=platform),)).text()
    faulty.manifests["v1"] = (INDEX, text)
    with pytest.raises(IntegrityError, match=r"is called application/vnd\.docker"):
        pull_image(target, tmp_path / "pulled", session)
    faulty.faults.append(on("GET .*", lambda handler: handler.error(404)))
    with pytest.raises(Exception, match="is not in the registry"):
        pull_image(target, tmp_path / "pulled", session)
