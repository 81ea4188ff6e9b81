"""One repository of a registry: the OCI distribution specification 1.1, over HTTP.

Authentication is that of docker: HTTP's basic scheme, or a token of the service that the registry names.
Credentials never occur in errors or logs, and are sent only to the registry or its service.
"""

from __future__ import annotations

import email.utils
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2

from envbuilder.config.settings import Settings
from envbuilder.errors import StoreError
from envbuilder.registry.credentials import Credentials, find_credentials
from envbuilder.registry.reference import Reference
from envbuilder.registry.transport import Transport
from envbuilder.util.documents import DOCUMENT, DocumentError, parse_json
from envbuilder.util.patience import Patience
from envbuilder.util.printable import printable_line

PULL: Final = "pull"
PUSH: Final = "pull,push"
TRIES: Final = 5
"""Attempts for temporary failures: 429, 5xx, a broken connection."""
LONGEST_WAIT: Final = 60.0
"""Longest ``Retry-After`` that is accepted, in seconds."""
PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_CHALLENGE: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"|(\w+)=([^\s,"]+)')
_MOST_BODY: Final = 4 * 2**20
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}")
_DIGITS: Final = re.compile(r"[0-9]{1,9}")
sleep: Callable[[float], None] = time.sleep
"""Waits some seconds; tests replace it."""


class MissingError(StoreError):
    """The registry has no such repository, manifest or blob."""


class RefusedError(StoreError):
    """The registry, or its token service, refuses: 401 or 403, or no token for what is asked."""


class Connection:
    """Requests to one repository. Thread-safe."""

    def __init__(self, reference: Reference, settings: Settings) -> None:
        self.reference = reference
        self._host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        self._transport = Transport(self._host, self.place, settings)
        self._client = self._transport.client
        weakref.finalize(self, self._client.close)  # a remote store is never closed
        self._base: str | None = None
        self._lock = threading.Lock()
        self._authenticating = threading.Lock()
        self._tokens: dict[str, str] = {}
        """The value of the header ``Authorization``, by scope."""
        self._credentials: Credentials | None = None
        self._looked = False

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    @property
    def place(self) -> str:
        """The repository's name in errors."""
        return f"{self.reference.host}/{self.reference.repository}"

    @property
    def base(self) -> str:
        """The address of the registry.

        Raises:
            RecipeError: it only supports plain HTTP, which is not allowed.
        """
        with self._lock:
            if self._base is None:
                self._base = self._find_base()
                self._transport.secure = self._base.startswith("https:")
            return self._base

    def _find_base(self) -> str:
        secure, plain = f"https://{self._host}", f"http://{self._host}"
        if not self._transport.may_be_plain(self._host):
            return secure
        try:
            answer = self._transport.send(self._client.build_request("GET", f"{plain}/v2/"), follow=False)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise self._away(error) from error
        except httpx2.HTTPError:
            return secure
        # How servers in Go and nginx report that TLS is required.
        return secure if answer.status_code == 400 and b"HTTPS" in answer.content[:2000] else plain

    # -- one request -----------------------------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        *,
        expect: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        access: str = PULL,
        tries: int = TRIES,
    ) -> httpx2.Response:
        """Send a request and return the answer, read whole, if its status is one of *expect*.

        *path* is relative to the repository, or an address that the registry gave; *access* is what is asked for: pull,
        push, and (after a space) another repository of which a blob is to be mounted. Temporary failures are
        retried, up to *tries* attempts.

        Raises:
            MissingError: 404.
            StoreError: any other status, or no answer.
        """
        waited = 0
        while True:
            try:
                answer = self._once(method, path, headers or {}, content, access)
            except httpx2.HTTPError as error:
                waited += 1
                if waited >= tries or not _passing(error):
                    raise self._away(error) from error
                sleep(_pause(waited, None))
                continue
            if answer.status_code in expect:
                return answer
            waited += 1
            if answer.status_code not in PASSING or waited >= tries:
                raise self.refused(answer, path)
            sleep(self.wait(answer, waited))

    def patience(self) -> Patience:
        """Return a new time limit."""
        return self._transport.patience()

    def whole(self, answer: httpx2.Response) -> httpx2.Response:
        """Read the body of a response."""
        return self._transport.whole(answer)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """Get *path*; yield the response before its body is read.

        Raises:
            httpx2.HTTPError: there is none.
        """
        for attempt in range(2):
            request = self._request("GET", path, headers, None, PULL)
            answer = self._transport.open(request, follow=True)
            try:
                if answer.status_code == 401 and not attempt and self._authenticate(answer, PULL):
                    continue
                yield answer
                return
            finally:
                answer.close()

    def _once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None,
        access: str,
    ) -> httpx2.Response:
        answer = self._transport.send(self._request(method, path, headers, content, access))
        if answer.status_code == 401 and self._authenticate(answer, access):
            answer = self._transport.send(self._request(method, path, headers, content, access))
        return answer

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None,
        access: str,
    ) -> httpx2.Request:
        sent = dict(headers)
        try:
            url = self.url(path)
            if _origin(url) == _origin(self.base):
                value = self._tokens.get(self._scope(access)) or self._tokens.get("")
                if value is not None:
                    sent["Authorization"] = value
            return self._client.build_request(method, url, headers=sent, content=content)
        except (ValueError, httpx2.InvalidURL) as error:
            raise StoreError(
                f"{self.place}: the registry redirects to {printable_line(path)[:100]!r}, which is not a valid address",
                hint="ask its owner",
            ) from error

    def url(self, path: str) -> str:
        """Return the address of *path*: relative to the repository, or what the registry gave."""
        if urlsplit(path).scheme or path.startswith("/"):
            url = urljoin(self.base, path)
            return url
        return f"{self.base}/v2/{self.reference.repository}/{path}"

    # -- who asks --------------------------------------------------------------------------------------

    def _scope(self, access: str) -> str:
        actions, _, other = access.partition(" ")
        own = f"repository:{self.reference.repository}:{actions}"
        return f"{own} repository:{other}:pull" if other else own

    def _authenticate(self, answer: httpx2.Response, access: str) -> bool:
        """Answer an authentication challenge; return whether to retry."""
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        found = {a or c: b or d for a, b, c, d in _CHALLENGE.findall(rest)}
        sent, basic = answer.request.headers.get("Authorization"), scheme.lower() == "basic"
        key = "" if basic else self._scope(access)
        with self._authenticating:
            if not self._looked:
                self._credentials = find_credentials(self.reference.host, self.reference.repository)
                self._looked = True
            if self._tokens.get(key) not in (None, sent):  # another thread was faster
                return True
            if basic and self._credentials is not None:
                self._tokens[key] = self._credentials.basic()
            elif scheme.lower() == "bearer" and "realm" in found:
                self._tokens[key] = f"Bearer {self._token(found, key)}"
            else:
                return False
            return self._tokens[key] != sent

    def _token(self, challenge: Mapping[str, str], scope: str) -> str:
        """Ask the registry's service for a token (distribution: *Token Authentication Specification*)."""
        realm, service = challenge["realm"], challenge.get("service", "")
        where = f"{self.place}: its token service {printable_line(_netloc(realm))[:100]}"
        who = self._credentials
        try:
            if who is not None and who.identity_token:
                form = {
                    "grant_type": "refresh_token",
                    "service": service,
                    "scope": scope,
                    "client_id": "envbuilder",
                    "refresh_token": who.identity_token,
                }
                request = self._client.build_request("POST", realm, data=form)
            else:
                query: dict[str, str | list[str]] = {"service": service} if service else {}
                query["scope"] = scope.split(" ")
                headers = {"Authorization": who.basic()} if who is not None else {}
                request = self._client.build_request("GET", realm, params=query, headers=headers)
            answer = self._transport.send(request, follow=False)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StoreError(f"{where} does not answer", hint="ask the registry's owner") from error
        if answer.status_code in (400, 401, 403, 404):
            raise self._unwelcome(answer.status_code)
        try:
            body = parse_json(answer.content, where="token service", cap=DOCUMENT)
            token = body.free_text("token" if "token" in body else "access_token")
        except DocumentError:
            raise StoreError(f"{where} answered {answer.status_code}, without a token") from None
        if not _TOKEN.fullmatch(token):  # in a header, it would end that
            raise StoreError(f"{where} answered with something other than a token")
        return token

    # -- what an answer means --------------------------------------------------------------------------

    def refused(self, answer: httpx2.Response, path: str) -> StoreError:
        """Return the error for a response."""
        code = answer.status_code
        said = _said(answer)
        what = printable_line(path.partition("?")[0].rpartition("/v2/")[2])[:100]
        if code in (401, 403):
            return self._unwelcome(code, said)
        if code == 404:
            return MissingError(
                f"{self.place} has no {what}{said}", hint="check the name, and that it was pushed"
            )
        if code == 429:
            return StoreError(
                f"{self.place}: the registry limits requests (429){said}",
                hint="try again later",
            )
        return StoreError(
            f"{self.place}: {what}: the registry answered {code} {answer.reason_phrase}".rstrip() + said
        )

    def _unwelcome(self, code: int, said: str = "") -> RefusedError:
        host = self.reference.host
        if self._credentials is None:
            return RefusedError(
                f"{self.place}: the registry refuses ({code}){said}: not logged in to {host}",
                hint=f"`docker login {host}`, `podman login {host}` or `skopeo login {host}`",
            )
        return RefusedError(
            f"{self.place}: the registry refuses the login of {host} ({code}){said}",
            hint="log in with an account that has access, or ask the repository's owner",
        )

    def _away(self, error: Exception) -> StoreError:
        text = printable_line(str(error) or type(error).__name__)[:300]
        hint = "check that the registry is running, and its name"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = "`cert` in envbuilder.toml names the certificates of its authority"
        elif "SSL" in text or "record layer" in text:
            hint = (
                f'a registry without TLS: insecure-registry = ["{self._host}"] in envbuilder.toml allows it'
            )
        return StoreError(f"{self.place}: the registry does not answer: {text}", hint=hint)

    def wait(self, answer: httpx2.Response, attempt: int) -> float:
        """Return how many seconds to wait before asking again.

        Raises:
            StoreError: the registry asks for too many.
        """
        seconds = _pause(attempt, answer.headers.get("Retry-After"))
        if seconds > LONGEST_WAIT:
            raise StoreError(
                f"{self.place}: the registry asks to wait {seconds:.0f} s ({answer.status_code})",
                hint="try again then",
            )
        return seconds


def _netloc(url: str) -> str:
    """Return the host of *url*, without what may stand before it; empty: it is no address."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _passing(error: Exception) -> bool:
    text = str(error)
    return (
        isinstance(error, httpx2.TransportError)
        and not isinstance(error, (httpx2.UnsupportedProtocol, httpx2.ProxyError))
        and "CERTIFICATE" not in text
        and "SSL" not in text
    )


def _pause(attempt: int, asked: str | None) -> float:
    """Return how many seconds to wait: the registry's value, or an exponential backoff."""
    if asked is not None:
        if _DIGITS.fullmatch(asked.strip()):
            return float(asked)
        try:
            when = email.utils.parsedate_to_datetime(asked).timestamp()
            return max(when - time.time(), 0.0)
        except (ValueError, TypeError, OverflowError):
            pass
    return float(min(0.5 * 2**attempt, 10.0))


def _said(answer: httpx2.Response) -> str:
    """Return what a registry says of an error (distribution: *Error Codes*), as it may be shown."""
    try:
        found = parse_json(answer.content[:_MOST_BODY], where="", cap=DOCUMENT).records("errors", most=100)
        one = found[0]
        code, message = one.free_text("code"), one.free_text("message") if "message" in one else ""
    except (DocumentError, IndexError):
        return ""
    return f": {printable_line(f'{code} {message}'.strip())[:200]}"
