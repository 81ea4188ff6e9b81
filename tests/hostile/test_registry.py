"""Registries that answer what they like: an image is verified or pulled whole, or refused in words."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from envbuilder.registry.reference import parse_reference
from envbuilder.store.session import Session
from envbuilder.transfer.images import push_image
from tests.helpers.hostile import Room, accepted, refused
from tests.helpers.registries import Faulty, Handler, faulty_registry, on
from tests.helpers.small import Small, copy_small

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB, TAG, REFERRERS = r"GET .*/blobs/sha256:.*", r"(GET|HEAD) .*/manifests/.*", r"GET .*/referrers/.*"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, built_small: Small) -> Faulty:
    """What a registry has of a right image, ``e:v1``: of an environment without libpython, which is not run."""
    small = copy_small(built_small, tmp_path_factory.mktemp("image"))
    session = Session(settings=small.settings, store=small.store())
    archive = small.build(store=session.store).archive
    with faulty_registry() as registry:
        push_image(archive, parse_reference(f"oci://{registry.host}/e:v1"), session)
    return registry


@pytest.fixture
def faulty(good: Faulty) -> Iterator[Faulty]:
    with faulty_registry() as registry:
        registry.blobs.update(good.blobs)
        registry.manifests.update(good.manifests)
        yield registry


Lie = Callable[[Faulty], object]


def edited(change: Callable[[dict[str, Any]], object]) -> Lie:
    """Let the tag name another manifest, under its right digest."""

    def lie(registry: Faulty) -> None:
        kind, data = registry.manifests["v1"]
        document = json.loads(data)
        change(document)
        body = json.dumps(document).encode()
        registry.manifests["v1"] = registry.manifests[f"sha256:{hashlib.sha256(body).hexdigest()}"] = (
            kind,
            body,
        )

    return lie


def manifest(kind: str, body: bytes) -> Lie:
    def lie(registry: Faulty) -> None:
        registry.manifests = {"v1": (kind, body), f"sha256:{hashlib.sha256(body).hexdigest()}": (kind, body)}

    return lie


def answer(pattern: str, how: Callable[[Handler], object]) -> Lie:
    return lambda registry: registry.faults.append(on(pattern, how))


def config(change: Callable[[Any], Any]) -> Lie:
    """Let the manifest name another config."""

    def lie(registry: Faulty) -> None:
        def point(document: dict[str, Any]) -> None:
            data = json.dumps(change(json.loads(registry.blobs[document["config"]["digest"]]))).encode()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            registry.blobs[digest] = data
            document["config"] |= {"digest": digest, "size": len(data)}

        edited(point)(registry)

    return lie


def endless(code: int = 200, *, drip: bool = False, kind: str = MANIFEST) -> Callable[[Handler], None]:
    """Send bytes until nobody reads them, or a few a second."""

    def send(handler: Handler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" if drip else b"x" * 2**20)
                time.sleep(0.05 if drip else 0)

    return send


def endless_headers(handler: Handler) -> None:
    handler.send_response(200)
    handler.flush_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"X: y\r\n")
            time.sleep(0.05)


def token(body: bytes) -> Lie:
    """Want a token, and give *body*."""

    def lie(registry: Faulty) -> None:
        challenge = f'Bearer realm="http://{registry.host}/token",service="x"'
        answer(TAG, lambda handler: handler.reply(401, WWW_Authenticate=challenge))(registry)
        answer("GET /token.*", lambda handler: handler.reply(200, body))(registry)

    return lie


def diff_ids(*names: str) -> Lie:
    """Let the configuration name other layers."""
    return config(lambda found: {**found, "rootfs": {"type": "layers", "diff_ids": list(names)}})


def at_login(challenge: str) -> Lie:
    return answer(TAG, lambda handler: handler.reply(401, WWW_Authenticate=challenge))


def elsewhere(location: str) -> Lie:
    return answer(BLOB, lambda handler: handler.reply(307, Location=location or handler.path))


REPOSITORY = r"127\.0\.0\.1:\d+/e: "
DIGEST = "sha256:[0-9a-f]{12}"
LARGE = "the registry answers with more than 33.6 MB"
SLOW = r"the registry does not answer: too slow: \d+ B in \d s"
REDIRECTS = "the registry redirects to .*, which is not a valid address"
CASES: dict[str, tuple[Lie, int, str]] = {
    # -- manifests
    "nested": (
        manifest(MANIFEST, b'{"schemaVersion": 2, "x": ' + b"[" * 100_000),
        5,
        f"{DIGEST}: has more than 20,000 objects and lists",
    ),
    "a list": (manifest(MANIFEST, b"[]"), 5, f"{DIGEST}: expected an object, found an empty list"),
    "a lone surrogate": (edited(lambda m: m["annotations"].update({"x": "\ud800"})), 0, ""),
    "layers of a text": (
        edited(lambda m: m.update(layers="abc")),
        5,
        f"{DIGEST}: layers: expected a list, found 'abc'",
    ),
    "layers of numbers": (
        edited(lambda m: m.update(layers=[1])),
        5,
        rf"{DIGEST}: layers\[0\]: expected an object, found 1",
    ),
    "no layers": (
        edited(lambda m: m.pop("layers")),
        5,
        f"{DIGEST}: layers: is missing; expected a list",
    ),
    **{
        f"a size of {size!r}": (
            edited(lambda m, size=size: m["layers"][0].update(size=size)),  # type: ignore[misc]
            5,
            rf"{DIGEST}: layers\[0\]\.size: expected an integer from 0 to 1099511627776, found {size!r}",
        )
        for size in (-1, "1", 10**30)
    },
    **{
        f"a digest {digest}": (
            edited(lambda m, digest=digest: m["layers"][0].update(digest=digest)),  # type: ignore[misc]
            5,
            rf"{DIGEST}: layers\[0\]\.digest: expected sha256: and 64 hex digits, found '{re.escape(digest)}'",
        )
        for digest in ("sha256:../../../etc/passwd", "md5:" + "0" * 32)
    },
    "a layer elsewhere": (
        edited(lambda m: m["layers"][0].update(urls=["http://127.0.0.1:9/"])),
        0,
        "",
    ),
    "a layer of an escape code": (
        edited(lambda m: m["layers"][0].update(mediaType="application/zip\x1b[31m")),
        5,
        rf"{DIGEST}: layers\[0\]\.mediaType: expected a media type, found 'application/zip\\u001b\[31m'",
    ),
    "an annotation of a number": (
        edited(lambda m: m.update(annotations={"a": 1})),
        5,
        rf"{DIGEST}: annotations\.a: expected a text, found 1",
    ),
    **{
        f"an archive called {name!r}": (
            edited(lambda m, name=name: m["annotations"].update({"dev.envbuilder.archive": name})),  # type: ignore[misc]
            5,
            f"the image {DIGEST} is not one of an environment: no annotation dev.envbuilder.archive",
        )
        for name in ("../../x.tar.gz", "\x1b]0;x\x07.tar.gz")
    },
    "an image of nobody": (
        manifest(
            INDEX,
            json.dumps(
                {
                    "schemaVersion": 2,
                    "manifests": [
                        {
                            "mediaType": INDEX,
                            "digest": f"sha256:{'0' * 64}",
                            "size": 2,
                            "platform": {"os": "linux", "architecture": "amd64"},
                        }
                    ],
                }
            ).encode(),
        ),
        4,
        "127.0.0.1:[0-9]+/e has no manifest sha256:0{12}",
    ),
    # -- configurations
    "a configuration of a list": (
        config(lambda _: []),
        5,
        f"{DIGEST}: configuration: expected an object, found an empty list",
    ),
    "a configuration without layers": (
        diff_ids(),
        5,
        "127.0.0.1:[0-9]+/e: sha256:[0-9a-f]{12} has 4 layers, and its configuration 0",
    ),
    # -- answers without an end, or as slow as that
    "an endless manifest": (answer(TAG, endless()), 4, LARGE),
    "an endless error": (answer(TAG, endless(500)), 4, LARGE),
    "a slow manifest": (answer(TAG, endless(drip=True)), 4, SLOW),
    "endless headers": (answer(TAG, endless_headers), 4, SLOW),
    "an endless blob": (
        answer(BLOB, endless()),
        5,
        f"the blob {DIGEST} does not match its name: more bytes of sha256 [0-9a-f]+, [0-9]+ were announced",
    ),
    "a slow blob": (
        answer(BLOB, endless(drip=True)),
        4,
        rf"the blob {DIGEST} broke off after \d+ B of 1\.7 kB: too slow: \d+ B in \d s",
    ),
    "a part that was not asked for": (
        answer(BLOB, lambda h: h.reply(206, b"x", Content_Range="bytes 5-6/7")),
        4,
        rf"the blob {DIGEST} broke off after 0 B of 1\.7 kB: answered with another range than was asked for",
    ),
    "endless referrers": (answer(REFERRERS, endless(kind=INDEX)), 4, LARGE),
    "referrers in a circle": (
        answer(
            REFERRERS,
            lambda h: h.reply(
                200,
                b'{"schemaVersion": 2, "manifests": []}',
                Content_Type=INDEX,
                Link=f'<{h.path}>; rel="next"',
            ),
        ),
        0,
        "",
    ),
    "referrers of a text": (
        answer(REFERRERS, lambda h: h.reply(200, b'{"manifests": "x"}', Content_Type=INDEX)),
        5,
        "referrers: schemaVersion: is missing; expected an integer from 0 to 100",
    ),
    # -- ways that lead elsewhere
    "a circle": (elsewhere(""), 4, "the registry redirects too often"),
    "a file": (elsewhere("file:///etc/passwd"), 4, REDIRECTS),
    "no address": (
        elsewhere("http://[::1"),
        4,
        r"blobs/sha256:\w+: the registry answered 307 Temporary Redirect",
    ),
    # -- logins
    "a login at a file": (at_login('Bearer realm="file:///etc/passwd",service="x"'), 4, REDIRECTS),
    "a login of no kind": (
        at_login("Hush " + "x" * 5000),
        4,
        r"the registry refuses \(401\): not logged in to 127\.0\.0\.1:\d+",
    ),
    "a nested token": (
        token(b"[" * 100_000),
        4,
        r"its token service 127\.0\.0\.1:\d+ answered 200, without a token",
    ),
    "a token of two lines": (
        token(b'{"token": "a\\nb"}'),
        4,
        r"its token service 127\.0\.0\.1:\d+ answered with something other than a token",
    ),
    "escape codes": (
        answer(TAG, lambda h: h.error(403, "DENIED\x1b[31m", "\x1b]0;title\x07\u202ehush")),
        4,
        r"the registry refuses \(403\): DENIED\\u001b\[31m .*hush: not logged in to 127\.0\.0\.1:\d+",
    ),
    "no gzip": (
        answer(TAG, lambda h: h.reply(200, b"no gzip", Content_Encoding="gzip", Content_Type=MANIFEST)),
        4,
        "the registry does not answer: Error -3 while decompressing data: incorrect header check",
    ),
}


def be_quick(room: Room, name: str) -> None:
    """Wait for a slow answer no longer than it takes to see that it is slow: four timeouts."""
    if "slow" in name or "headers" in name:
        (room.work / "envbuilder.toml").write_text("timeout = 0.5\n")


@pytest.mark.parametrize("name", CASES)
def test_an_image_is_pulled_whole_or_refused(room: Room, faulty: Faulty, name: str) -> None:
    lie, code, said = CASES[name]
    lie(faulty)
    (room.work / "envbuilder.toml").write_text(
        "timeout = 0.5\n"
    )  # four times that is what an answer may take
    outcome = room.run("pull", f"oci://{faulty.host}/e:v1", "-o", "envs")
    if code:
        whose = "" if said.startswith(("the image", "127.0.0.1")) else REPOSITORY
        refused(outcome, code, re.compile(f"error: {whose}{said}"))
    else:
        accepted(outcome, may_write=["work/envs"])


@pytest.mark.parametrize("name", ["nested", "a slow manifest", "an endless blob", "a login at a file"])
def test_an_image_that_is_to_be_verified(room: Room, faulty: Faulty, name: str) -> None:
    lie, code, said = CASES[name]
    lie(faulty)
    be_quick(room, name)
    outcome = room.run("verify", f"oci://{faulty.host}/e:v1", "--no-server")
    refused(outcome, code, re.compile(f"error: {REPOSITORY}{said}"))


def test_a_layer_that_is_another_s(room: Room, faulty: Faulty) -> None:
    """A pull rebuilds the archive, whose own digest is compared; a runtime looks at the layers."""
    names = json.loads(faulty.blobs[json.loads(faulty.manifests["v1"][1])["config"]["digest"]])["rootfs"][
        "diff_ids"
    ]
    diff_ids(*[f"sha256:{'0' * 64}"] * len(names))(faulty)
    refused(
        room.run("verify", f"oci://{faulty.host}/e:v1", "--no-server"),
        5,
        re.compile(
            rf"error: layer 1 \({DIGEST}\) unpacks to a tar of sha256 \w+, the configuration says 0{{12}}"
        ),
    )
    accepted(room.run("pull", f"oci://{faulty.host}/e:v1", "-o", "envs"), may_write=["work/envs"])
