"""Images to and from registries: Debian's docker-registry, and a small one that does wrong what it is told to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.archive.manifest import manifest_beside
from envbuilder.errors import (
    AssembleError,
    EnvbuilderError,
    IntegrityError,
    RecipeError,
    StoreError,
    VerifyError,
)
from envbuilder.images.write import write_image
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.registry import connection
from envbuilder.registry.reference import Reference, parse_reference
from envbuilder.registry.repository import Repository
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.transfer.image_checks import open_target
from envbuilder.transfer.images import open_remote_image, pull_image, push_image
from envbuilder.transfer.tags import move_tag, resolve_tag
from envbuilder.util.files import file_sha256
from tests.helpers import tars
from tests.helpers.images import extracted, skopeo, umoci, write_layers
from tests.helpers.registries import (
    HTPASSWD,
    PASSWORD,
    Faulty,
    Handler,
    docker_config,
    docker_registry,
    faulty_registry,
    on,
    times,
)
from tests.helpers.small import Small
from tests.helpers.trust import Team
from tests.transfer.conftest import elsewhere, reference


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with faulty_registry() as registry:
        yield registry


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for, instead of waiting."""
    found: list[float] = []
    monkeypatch.setattr(connection, "sleep", found.append)
    return found


# -- with docker-registry ----------------------------------------------------------------------------


def test_there_and_back(
    host: str,
    archive: Path,
    session: Session,
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = reference(host, "envs/small", tag="v1")
    pushed = push_image(archive, target, session)
    assert pushed.image is not None
    digest = pushed.image.partition("@")[2]
    assert (
        skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{target.image}").strip()
        == digest
    )
    pulled = pull_image(parse_reference(pushed.image), tmp_path / "pulled", elsewhere(session, tmp_path))
    assert pulled.archive.read_bytes() == archive.read_bytes()
    assert manifest_beside(pulled.archive).read_bytes() == manifest_beside(archive).read_bytes()
    assert pulled.image == f"oci://{target.image}@{digest}"
    assert (tmp_path / "pulled" / f"{archive.name}.cdx.json").is_file()
    # What others pull is the archive's tree.
    skopeo("copy", "--src-tls-verify=false", f"docker://{target.image}", f"oci:{tmp_path}/copied:v1")
    assert umoci(tmp_path / "copied", "v1", tmp_path / "bundle") == extracted(archive, tmp_path / "extracted")
    again = push_image(archive, target, session)
    assert (again.moved, again.sent) == (0, ())
    assert again.image == pushed.image
    # Of a recipe it is the image of its archive; the tag brings what the digest brings.
    monkeypatch.chdir(small.folder)
    write_lock(small.lock, lock_path(small.recipe))
    by_recipe = api.push(small.recipe, to=str(target), output=archive.parent, session=session)
    assert (by_recipe.image, by_recipe.moved) == (pushed.image, 0)
    by_tag = api.pull(str(target), output=tmp_path / "by tag", session=elsewhere(session, tmp_path))
    assert by_tag.archive.read_bytes() == archive.read_bytes()
    # And what others push is pulled, where they kept its layers and its manifest as they are.
    copied = reference(host, "envs/copied", tag="v1")
    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/copied:v1", f"docker://{copied.image}")
    machine = elsewhere(session, tmp_path)
    assert pull_image(copied, tmp_path / "again", machine).archive.read_bytes() == archive.read_bytes()
    docker = f"docker-archive:{tmp_path}/docker.tar"
    skopeo("copy", f"oci:{tmp_path}/copied:v1", f"{docker}:small:latest")
    packed = reference(host, "envs/docker", tag="v1")
    skopeo("copy", "--dest-tls-verify=false", docker, f"docker://{packed.image}")
    with pytest.raises(IntegrityError, match="is not one of an environment"):
        pull_image(packed, tmp_path / "docker", machine)
    assert not (tmp_path / "docker").exists()
    with open_target(str(packed), machine) as subject:
        status = {check.id: check.status for check in subject.checks}
    assert status["image.tree"] == status["image.layers"] == "passed"
    assert status["image.archive"] == "failed"


def test_a_layout_and_a_tar_of_one(host: str, archive: Path, session: Session, tmp_path: Path) -> None:
    report = write_image([archive], tmp_path / "image.oci", session)
    write_image([archive], tmp_path / "image.oci.tar", session)
    for name in ("image.oci", "image.oci.tar"):
        pushed = push_image(tmp_path / name, reference(host, "envs/layouts", tag=name), session)
        assert pushed.image is not None
        assert pushed.image.endswith(report.digest)


def test_a_second_environment_sends_what_is_its_own(
    host: str, small: Small, archive: Path, session: Session, tmp_path: Path
) -> None:
    push_image(archive, reference(host, "first", tag="v1"), session)
    lock = dataclasses.replace(small.lock, artifacts=small.lock.artifacts[:1])
    other = (
        dataclasses.replace(small, lock=lock).build(store=session.store, output=tmp_path / "other").archive
    )
    with Repository(reference(host, "second"), session.settings) as repository:
        pushed = push_image(other, reference(host, "second", tag="v1"), session)
        assert pushed.there >= 1, "mounted from the first repository"
        assert pushed.moved is not None
        assert pushed.moved < other.stat().st_size / 2
        assert repository.manifest("v1") is not None
    # A machine that has the first fetches no more.
    machine = elsewhere(session, tmp_path)
    pull_image(reference(host, "first", tag="v1"), tmp_path / "pulled", machine)
    pulled = pull_image(reference(host, "second", tag="v1"), tmp_path / "pulled", machine)
    assert pulled.moved is not None
    assert pulled.moved < other.stat().st_size / 2
    assert pulled.archive.read_bytes() == other.read_bytes()
    # Where what it has is no longer what it was, it is fetched after all.
    first = tmp_path / "pulled" / archive.name
    first.write_bytes(bytes(first.stat().st_size))
    pulled.archive.unlink()
    again = pull_image(reference(host, "second", tag="v1"), tmp_path / "pulled", machine)
    assert again.archive.read_bytes() == other.read_bytes()
    assert again.moved is not None
    assert again.moved > pulled.moved


def test_tags_move_in_one_step(
    host: str, small: Small, archive: Path, session: Session, tmp_path: Path
) -> None:
    first = push_image(archive, reference(host, "tags", tag="v1"), session)
    lock = dataclasses.replace(small.lock, artifacts=small.lock.artifacts[:1])
    other = (
        dataclasses.replace(small, lock=lock).build(store=session.store, output=tmp_path / "other").archive
    )
    second = push_image(other, reference(host, "tags", tag="v2"), session)
    stable = reference(host, "tags", tag="stable")
    assert str(first.image).endswith(move_tag(stable, "v1", session))
    assert str(first.image).endswith(resolve_tag(stable, session))
    assert str(second.image).endswith(move_tag(stable, str(second.image).partition("@")[2], session))
    assert str(second.image).endswith(resolve_tag(stable, session))
    with pytest.raises(StoreError, match="has no image v3"):
        move_tag(stable, "v3", session)
    with pytest.raises(RecipeError, match="a registry keeps no history of tags"):
        api.alias(str(stable), back=True, session=session)
    assert api.alias(str(stable), "v1", session=session).sha256 == str(first.image)[-64:]


def test_a_login(archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with docker_registry(tmp_path / "registry", htpasswd=HTPASSWD) as host:
        target = reference(host, "private", tag="v1")
        with pytest.raises(
            StoreError, match=rf"the registry refuses \(401\).*not logged in to {host}"
        ) as raised:
            push_image(archive, target, session)
        assert f"docker login {host}" in str(raised.value)
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", host, password="wrong")))
        with pytest.raises(StoreError, match=rf"the registry refuses the login of {host} \(401\)") as raised:
            push_image(archive, target, session)
        assert "wrong" not in str(raised.value)
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", host)))
        push_image(archive, target, session)
        pulled = pull_image(target, tmp_path / "pulled", session)
        assert pulled.archive.read_bytes() == archive.read_bytes()
        assert PASSWORD not in repr((pulled, session))


def test_two_pushes_at_once(host: str, archive: Path, session: Session, tmp_path: Path) -> None:
    target = reference(host, "both", tag="v1")
    sessions = [session, elsewhere(session, tmp_path)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: push_image(archive, target, one), sessions))
    assert len({one.image for one in done}) == 1
    assert pull_image(target, tmp_path / "pulled", session).archive.read_bytes() == archive.read_bytes()


# -- faults --------------------------------------------------------------------------------------------


def test_a_registry_that_is_away(archive: Path, session: Session, waits: list[float], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the registry does not answer"):
        push_image(archive, reference("127.0.0.1:1", "a", tag="v1"), session)
    with pytest.raises(StoreError, match="the registry does not answer"):
        pull_image(reference("127.0.0.1:1", "a", tag="v1"), tmp_path / "pulled", session)
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (403, r"the registry refuses \(403\)"),
        (400, r"the registry answered 400"),
        (500, r"the registry answered 500"),
        (429, "limits requests"),
    ],
)
def test_a_registry_that_refuses(
    code: int, said: str, faulty: Faulty, archive: Path, session: Session, waits: list[float], tmp_path: Path
) -> None:
    faulty.faults.append(
        on("(POST|PATCH|PUT) .*", lambda handler: handler.error(code, "DENIED", "no\x1b[31m way"))
    )
    with pytest.raises(StoreError, match=said) as raised:
        push_image(archive, reference(faulty.host, "a", tag="v1"), session)
    assert "\x1b" not in str(raised.value)
    assert faulty.manifests == {}
    faulty.faults[:] = [on("GET /v2/a/.*", lambda handler: handler.error(code))]
    with pytest.raises(StoreError, match=said):
        pull_image(reference(faulty.host, "a", tag="v1"), tmp_path / "pulled", session)
    assert not (tmp_path / "pulled").exists()


def test_what_is_not_there(faulty: Faulty, session: Session, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a:v1 is not in the registry"):
        pull_image(reference(faulty.host, "a", tag="v1"), tmp_path / "pulled", session)


def test_waiting_as_long_as_is_asked(
    faulty: Faulty, archive: Path, session: Session, waits: list[float], tmp_path: Path
) -> None:
    target = reference(faulty.host, "a", tag="v1")
    faulty.faults.append(times(2, on("POST .*", lambda handler: handler.error(429, Retry_After="7"))))
    faulty.faults.append(times(1, on("HEAD .*", lambda handler: handler.error(503))))
    push_image(archive, target, session)
    assert waits.count(7.0) == 2
    faulty.faults[:] = [on("GET .*manifests.*", lambda handler: handler.error(429, Retry_After="3600"))]
    with pytest.raises(StoreError, match=r"asks to wait 3600 s \(429\)"):
        pull_image(target, tmp_path / "pulled", session)


def test_an_upload_goes_on_where_it_broke_off(
    faulty: Faulty,
    archive: Path,
    session: Session,
    waits: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from envbuilder.registry import upload

    monkeypatch.setattr(upload, "CHUNK", 100_000)

    def half(handler: Handler) -> None:
        upload = handler.registry.uploads[handler.path.rpartition("/")[2]]
        upload += handler.body[: len(handler.body) // 2]
        handler.registry.bytes_in += len(handler.body) // 2
        handler.drop()

    faulty.faults.append(times(3, on("PATCH .*", half)))
    pushed = push_image(archive, reference(faulty.host, "a", tag="v1"), session)
    layers = sum(len(data) for data in faulty.blobs.values())
    assert faulty.bytes_in == layers, "nothing was sent twice"
    assert pushed.moved is not None
    assert (
        pull_image(reference(faulty.host, "a", tag="v1"), tmp_path / "p", session).archive.read_bytes()
        == archive.read_bytes()
    )


def test_a_download_goes_on_where_it_broke_off(
    faulty: Faulty, archive: Path, session: Session, waits: list[float], tmp_path: Path
) -> None:
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    longest = max(faulty.blobs, key=lambda digest: len(faulty.blobs[digest]))

    def half(handler: Handler) -> None:
        data = handler.registry.blobs[longest]
        begin = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        end = begin + max((len(data) - begin) // 2, 1)
        handler.reply(206 if begin else 200, data[begin:end], length=len(data) - begin)
        handler.drop()

    faulty.faults.append(times(6, on(f"GET .*{longest}", half)))
    pulled = pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    assert pulled.archive.read_bytes() == archive.read_bytes()
    ranges = [headers["Range"] for headers in faulty.sent if "Range" in headers]
    assert len(ranges) == 6
    # And where it always breaks off, it ends.

    def short(handler: Handler) -> None:
        handler.reply(200, b"x", length=1000)
        handler.drop()

    faulty.faults[:] = [on(f"GET .*{longest}", short)]
    with pytest.raises((StoreError, IntegrityError)):
        pull_image(target, tmp_path / "other", elsewhere(session, tmp_path))
    assert not (tmp_path / "other").exists()


def test_a_blob_of_other_bytes(faulty: Faulty, archive: Path, session: Session, tmp_path: Path) -> None:
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    longest = max(faulty.blobs, key=lambda digest: len(faulty.blobs[digest]))
    data = bytearray(faulty.blobs[longest])
    data[1000] ^= 1
    faulty.blobs[longest] = bytes(data)
    with pytest.raises(IntegrityError, match=f"the blob {longest[:19]} does not match its name"):
        pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    faulty.blobs[longest] = bytes(data) * 2
    with pytest.raises(IntegrityError, match="more bytes"):
        pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    assert not (tmp_path / "pulled").exists()


def test_bytes_that_change_on_their_way(
    faulty: Faulty, archive: Path, session: Session, waits: list[float]
) -> None:
    def flip(handler: Handler) -> bool:
        if handler.command == "PATCH":
            handler.body = handler.body[:-1] + bytes([handler.body[-1] ^ 1])
        return False

    faulty.faults.append(flip)
    with pytest.raises(IntegrityError, match="the content received does not match the digest"):
        push_image(archive, reference(faulty.host, "a", tag="v1"), session)
    assert "v1" not in faulty.manifests


def test_a_manifest_of_other_bytes(faulty: Faulty, archive: Path, session: Session, tmp_path: Path) -> None:
    pushed = push_image(archive, reference(faulty.host, "a", tag="v1"), session)
    digest = str(pushed.image).partition("@")[2]
    kind, data = faulty.manifests[digest]
    faulty.manifests[digest] = faulty.manifests["v1"] = (kind, data + b" ")
    with pytest.raises(IntegrityError, match="not what its name says"):
        pull_image(parse_reference(str(pushed.image)), tmp_path / "pulled", session)
    faulty.manifests["v1"] = (kind, b" " * 5_000_000)
    with pytest.raises(IntegrityError, match=r"is larger than 4\.2 MB"):
        pull_image(reference(faulty.host, "a", tag="v1"), tmp_path / "pulled", session)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "application/json",
            b'{"schemaVersion": 2, "mediaType": "application/json"}',
            "media type is application/json",
        ),
        ("text/html", b"<html>hush</html>", "media type is text/html"),
        ("application/vnd.oci.image.manifest.v1+json", b'{"schemaVersion": 1}', "schemaVersion 1"),
        (
            "application/vnd.oci.image.manifest.v1+json",
            b'{"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": "sha256:12", "size": 1}, "layers": []}',
            "expected sha256: and 64 hex digits",
        ),
        (
            "application/vnd.oci.image.index.v1+json",
            b'{"schemaVersion": 2, "manifests": []}',
            "has no image for linux/amd64",
        ),
    ],
)
def test_a_manifest_that_is_none(
    kind: str, body: bytes, said: str, faulty: Faulty, session: Session, tmp_path: Path
) -> None:
    faulty.manifests["v1"] = (kind, body)
    with pytest.raises(IntegrityError, match=said):
        pull_image(reference(faulty.host, "a", tag="v1"), tmp_path / "pulled", session)


def push_layers(faulty: Faulty, layout: Path, session: Session, **more: object) -> Reference:
    write_layers(layout, **more)  # type: ignore[arg-type]  # a test's own options
    target = reference(faulty.host, "a", tag="v1")
    push_image(layout, target, session)
    return target


def test_an_image_that_is_no_environment(faulty: Faulty, session: Session, tmp_path: Path) -> None:
    layer = tars.file("etc/motd", b"hello") + bytes(1024)
    target = push_layers(faulty, tmp_path / "image", session, layers=[layer])
    with pytest.raises(
        IntegrityError, match=r"is not one of an environment: no annotation dev\.envbuilder\.archive"
    ):
        pull_image(target, tmp_path / "pulled", session)


def test_an_image_of_another_platform(faulty: Faulty, session: Session, tmp_path: Path) -> None:
    layer = tars.file("etc/motd", b"hello") + bytes(1024)
    target = push_layers(
        faulty, tmp_path / "image", session, layers=[layer], config={"architecture": "s390x"}
    )
    with pytest.raises(IntegrityError, match="is for linux/s390x, not for linux/amd64"):
        pull_image(target, tmp_path / "pulled", session)


def test_an_image_of_too_many_layers(faulty: Faulty, session: Session, tmp_path: Path) -> None:
    layer = tars.file("file", b"x") + bytes(1024)
    target = push_layers(faulty, tmp_path / "image", session, layers=[layer] * 128)
    with pytest.raises(IntegrityError, match="has 128 layers: a runtime mounts 127 at most"):
        pull_image(target, tmp_path / "pulled", session)


@pytest.mark.parametrize(
    "change",
    [
        lambda layers: layers.reverse(),
        lambda layers: layers.pop(),
        lambda layers: layers[0].pop("annotations"),
        lambda layers: layers[0]["annotations"].update({"dev.envbuilder.segments": "[[0, 1, 2, 3]]"}),
        lambda layers: layers[0]["annotations"].update(
            {"dev.envbuilder.segments": '[[0, "a", 0, 99999999999]]'}
        ),
        lambda layers: layers[0]["annotations"].update({"dev.envbuilder.segments": "{"}),
        lambda layers: layers.append(layers[0]),
    ],
)
def test_layers_that_were_tampered_with(
    change: Callable[[list[object]], object], faulty: Faulty, archive: Path, session: Session, tmp_path: Path
) -> None:
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    kind, data = faulty.manifests["v1"]
    document = json.loads(data)
    before = json.dumps(document["layers"])
    change(document["layers"])
    body = json.dumps(document).encode()
    faulty.manifests["v1"] = faulty.manifests[f"sha256:{hashlib.sha256(body).hexdigest()}"] = (kind, body)
    machine = elsewhere(session, tmp_path)
    if json.loads(before)[::-1] == document["layers"]:  # another order is the same archive
        assert pull_image(target, tmp_path / "pulled", machine).archive.read_bytes() == archive.read_bytes()
        return
    with pytest.raises(IntegrityError):
        pull_image(target, tmp_path / "pulled", machine)
    assert not (tmp_path / "pulled").exists()


def test_a_tag_that_moves_while_it_is_pulled(
    faulty: Faulty, small: Small, archive: Path, session: Session, tmp_path: Path
) -> None:
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    lock = dataclasses.replace(small.lock, artifacts=small.lock.artifacts[:1])
    other = (
        dataclasses.replace(small, lock=lock).build(store=session.store, output=tmp_path / "other").archive
    )
    moved = threading.Event()

    def move(handler: Handler) -> bool:
        if handler.command == "GET" and "/blobs/" in handler.path and not moved.is_set():
            moved.set()
            push_image(other, reference(faulty.host, "a", tag="v1"), session)
        return False

    faulty.faults.append(move)
    pulled = pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    assert moved.is_set()
    assert pulled.archive.read_bytes() == archive.read_bytes()


def test_a_full_disk(
    faulty: Faulty, archive: Path, session: Session, tmp_path: Path, tmpfs: Callable[..., Path]
) -> None:
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    full = tmpfs("full", "size=300k")
    with pytest.raises(StoreError, match="no space left in"):
        pull_image(target, full / "pulled", elsewhere(session, tmp_path))
    with pytest.raises(AssembleError, match="cannot be written: No space left on device"):
        write_image([archive], full / "image", session)
    small_store = dataclasses.replace(session, store=Store.open(full / "store"))
    with (
        pytest.raises(VerifyError, match=r"can be written to|No space left on device"),
        open_target(str(target), small_store),
    ):
        pass
    assert not [path for path in full.rglob("*") if path.is_file() and path.stat().st_size > 4096]
    assert not (full / "pulled").exists()
    assert not (full / "image").exists()


def test_plain_http_elsewhere_is_not_asked(session: Session, waits: list[float]) -> None:
    """The name is this machine's, and not one of loopback."""
    with (
        pytest.raises(StoreError, match="does not answer"),
        open_remote_image(reference("0.0.0.0:1", "a", tag="v1"), session),
    ):
        pass
    allowed = dataclasses.replace(session.settings, insecure_registries=("0.0.0.0:1",))
    with Repository(reference("0.0.0.0:1", "a"), allowed) as repository, pytest.raises(EnvbuilderError):
        repository.holds("sha256:" + "0" * 64)


def test_tokens(
    faulty: Faulty, archive: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow of Docker's own registry: a service gives a token for a scope."""
    given: list[str] = []

    def bearer(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            given.append(handler.path)
            if not handler.headers.get("Authorization", "").startswith("Basic "):
                handler.error(401)
            else:
                handler.reply(200, json.dumps({"token": f"token-{len(given)}", "expires_in": 60}).encode())
            return True
        if handler.headers.get("Authorization", "").startswith("Bearer token-"):
            return False
        realm = f'Bearer realm="http://{faulty.host}/token",service="tests",scope="repository:a:pull"'
        handler.error(401, WWW_Authenticate=realm)
        return True

    faulty.faults.append(bearer)
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", faulty.host)))
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    assert any("pull%2Cpush" in one or "pull,push" in one for one in given)
    assert len(given) < 6, "a token is used again"
    assert pull_image(target, tmp_path / "pulled", session).archive.read_bytes() == archive.read_bytes()


def test_a_login_that_ends_while_it_is_pulled(
    faulty: Faulty, archive: Path, session: Session, tmp_path: Path
) -> None:
    """A token is valid for some minutes, and a download may take longer."""
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    given: list[str] = []

    def bearer(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            given.append(f"t{len(given)}")
            handler.reply(200, json.dumps({"token": given[-1]}).encode())
            return True
        said = handler.headers.get("Authorization")
        if handler.path == "/v2/" or (said == "Bearer t1" and "/blobs/" in handler.path):
            return False
        if said == "Bearer t0" and "/blobs/" not in handler.path:
            return False
        if said == "Bearer t1":
            return False
        handler.error(401, WWW_Authenticate=f'Bearer realm="http://{faulty.host}/token",service="tests"')
        return True

    faulty.faults.append(bearer)
    pulled = pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    assert pulled.archive.read_bytes() == archive.read_bytes()
    assert given == ["t0", "t1"], "one for all threads"


def test_a_blob_that_is_gone(faulty: Faulty, archive: Path, session: Session, tmp_path: Path) -> None:
    target = reference(faulty.host, "a", tag="v1")
    push_image(archive, target, session)
    longest = max(faulty.blobs, key=lambda digest: len(faulty.blobs[digest]))
    del faulty.blobs[longest]
    with pytest.raises(StoreError, match=f"has no blobs/{longest[:19]}"):
        pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    assert not (tmp_path / "pulled").exists()


def test_a_manifest_that_is_taken_at_the_second_try(
    faulty: Faulty, archive: Path, session: Session, waits: list[float]
) -> None:
    faulty.faults.append(times(1, on("PUT .*/manifests/v1", lambda handler: handler.error(500))))
    push_image(archive, reference(faulty.host, "a", tag="v1"), session)
    assert faulty.count("PUT .*/manifests/v1") == 2
    assert "v1" in faulty.manifests
    assert len(waits) == 1


def test_two_pushes_of_two_images_to_one_tag(faulty: Faulty, session: Session, tmp_path: Path) -> None:
    """The tag is one of both, and each is whole under its digest."""
    target = reference(faulty.host, "a", tag="v1")
    layouts = [tmp_path / name for name in ("one", "two")]
    for layout in layouts:
        write_layers(layout, [tars.file("a", layout.name.encode()) + bytes(1024)])
    both = threading.Barrier(2, timeout=30)

    def wait(handler: Handler) -> bool:
        if handler.command == "PUT" and handler.path.endswith("/manifests/v1"):
            both.wait()
        return False

    faulty.faults.append(wait)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda layout: push_image(layout, target, session), layouts))
    digests = {str(one.image).partition("@")[2] for one in done}
    assert len(digests) == 2
    assert digests <= faulty.manifests.keys()
    assert f"sha256:{hashlib.sha256(faulty.manifests['v1'][1]).hexdigest()}" in digests


# -- what refers to an image ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["listed", "by tag", "docker-registry"])
def test_what_is_about_an_archive_goes_along(
    kind: str, host: str, faulty: Faulty, archive: Path, session: Session, tmp_path: Path
) -> None:
    faulty.referrers = kind == "listed"
    target = reference(host if kind == "docker-registry" else faulty.host, "about", tag="v1")
    api.attest(archive, key=Team(tmp_path / "team").private)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"sha256": file_sha256(archive), "passed": True}))
    push_image(archive, target, session, reports=[report])
    again = push_image(archive, target, session, reports=[report])
    assert again.sent == ()
    pulled = pull_image(target, tmp_path / "pulled", elsewhere(session, tmp_path))
    (provenance,) = pulled.provenances
    assert provenance.read_bytes() == provenance_beside(archive).read_bytes()
    assert provenance == provenance_beside(pulled.archive)
    (found,) = pulled.reports
    assert found.read_bytes() == report.read_bytes()
    document = json.loads((tmp_path / "pulled" / f"{archive.name}.cdx.json").read_text())
    assert document["metadata"]["component"]["version"] == file_sha256(archive)[:12]
    # A report of another archive is refused before anything is sent.
    report.write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(IntegrityError, match="is of the archive 000000000000"):
        push_image(archive, target, session, reports=[report])
