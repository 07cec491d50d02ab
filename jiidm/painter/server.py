"""HTTP for one person on this machine: who may ask is decided here, before anything is read or done."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import select
import socket
import sys
import time
from collections.abc import Callable, Generator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

from jiidm.errors import InputError

MAX_BODY = 32 * 2**20
_HOSTS = ("127.0.0.1", "localhost")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_DRAIN_SECONDS = 3.0


class Answer(NamedTuple):
    """A response: its body, its type, and the name under which a browser saves it, if it should."""

    body: bytes | Generator[dict[str, Any], None, None]
    """Bytes, or objects that are sent as lines of JSON as they come."""
    content_type: str
    filename: str = ""
    status: HTTPStatus = HTTPStatus.OK


def as_json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(json.dumps(value, ensure_ascii=False).encode(), "application/json", status=status)


class NoSuchPage(Exception):
    """Nothing has this path."""


class Site(Protocol):
    """What the pages hold. Paths come without the token and without a leading slash."""

    def get(self, path: str) -> Answer: ...

    def post(self, path: str, body: bytes, gone: Callable[[], bool]) -> Answer: ...


class Server(ThreadingHTTPServer):
    """Serves a site at `url`, whose first part is a token that nobody can guess."""

    daemon_threads = True
    site: Site

    def __init__(self, host: str, port: int):
        """Takes the address; port 0 is a free one. Raises OSError where it cannot be used."""
        self.token = secrets.token_urlsafe(24)
        super().__init__((host, port), Handler)

    def serve(self, site: Site, poll_seconds: float = 0.5) -> None:
        """Answer until `shutdown`, or until an exception such as KeyboardInterrupt comes."""
        self.site = site
        self.serve_forever(poll_seconds)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error; anything else is a bug, whose traceback goes to the terminal."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "jiidm", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(lambda path, _: self.server.site.get(path))

    def do_POST(self) -> None:
        self._answer(lambda path, body: self.server.site.post(path, body, self._is_gone))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they hold the token."""

    def handle_expect_100(self) -> bool:
        if fault := self._fault():
            self._refuse(*fault)
            return False
        return super().handle_expect_100()

    def _answer(self, respond: Callable[[str, bytes], Answer]) -> None:
        if fault := self._fault():
            self._refuse(*fault)
            return
        path = unquote(urlsplit(self.path).path).removeprefix(f"/{self.server.token}")
        if not path.startswith("/"):  # the token alone: relative links need the slash
            self._redirect(f"/{self.server.token}/")
            return
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = respond(path[1:], body)
        except InputError as error:
            answer = as_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except NoSuchPage:
            answer = as_json({"error": "no such page"}, HTTPStatus.NOT_FOUND)
        self._send(answer)

    def _fault(self) -> tuple[HTTPStatus, str] | None:
        """Why this request is refused, from its headers alone; None where it is not."""
        host = self.headers.get("Host", "")
        name, _, port = host.partition(":")
        if name not in _HOSTS or not (port.isdecimal() or host == name) or len(self.headers.get_all("Host", [])) > 1:
            return HTTPStatus.FORBIDDEN, "this page is for 127.0.0.1 and localhost alone"
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            return HTTPStatus.FORBIDDEN, "the request comes from another page"
        token = urlsplit(self.path).path.split("/")[1] if self.path.startswith("/") else ""
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return HTTPStatus.FORBIDDEN, "wrong token; open the address that `jiidm paint` has printed"
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            return HTTPStatus.LENGTH_REQUIRED, "a body needs its length"
        if int(length[:20]) > MAX_BODY:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY // 2**20} MiB"
        return None

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True
        self._send(Answer(f"{reason}\n".encode(), "text/plain; charset=utf-8", status=status))
        self._drain()

    def _redirect(self, target: str) -> None:
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if answer.filename:
            self.send_header("Content-Disposition", f"attachment; filename*=UTF-8''{quote(answer.filename)}")
        if isinstance(answer.body, bytes):
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._send_lines(answer.body)

    def _send_lines(self, lines: Generator[dict[str, Any], None, None]) -> None:
        """Each as a chunk, when it comes. Whoever makes them learns at once that the browser has hung up."""
        with contextlib.closing(lines):
            for line in lines:
                text = json.dumps(line, ensure_ascii=False).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.write(b"0\r\n\r\n")

    def _is_gone(self) -> bool:
        """Whether the browser has hung up: a closed connection is readable and holds nothing."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _drain(self) -> None:
        """Take what is still coming for a while, else the browser would see a broken connection and no answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            end = time.monotonic() + _DRAIN_SECONDS
            while time.monotonic() < end and self.connection.recv(1 << 16):
                pass
