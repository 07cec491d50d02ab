"""Who may ask the painter's server: a token, a host and an origin are needed, and a body that is not too large."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable

import pytest

from jiidm.painter.server import MAX_BODY, Answer, NoSuchPage, Server, as_json


class Site:
    """Tells what reached it."""

    def __init__(self):
        self.bodies: list[bytes] = []

    def get(self, path: str) -> Answer:
        if path == "nowhere":
            raise NoSuchPage
        return as_json({"path": path})

    def post(self, path: str, body: bytes, gone: Callable[[], bool]) -> Answer:
        self.bodies.append(body)
        return as_json({"length": len(body)})


@pytest.fixture
def server():
    server = Server("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve, args=(Site(), 0.01), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(server: Server, method: str = "GET", path: str = "/{token}/state", body: bytes | None = None, **headers: str):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    given = {name.replace("_", "-"): value.format(port=port) for name, value in headers.items()}
    connection.request(method, path.format(token=server.token), body, given)
    response = connection.getresponse()
    return response.status, response.read().decode(), response.headers


def test_the_page_is_given_with_the_policy_that_keeps_it_alone(server):
    status, text, headers = ask(server)

    assert (status, text) == (200, '{"path": "state"}')
    assert headers["Content-Security-Policy"].split("; ")[0] == "default-src 'self'"
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert "Access-Control-Allow-Origin" not in headers


def test_tokens_are_long_and_differ(server):
    other = Server("127.0.0.1", 0)
    other.server_close()

    assert len(server.token) >= 32 and server.token != other.token
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/state", "/wrong/state", "/{token}x/state", "/{token}%00/state"])
def test_a_wrong_token_is_refused(server, path):
    assert ask(server, path=path)[0] == 403
    assert ask(server, "POST", path, b"{}")[0] == 403
    assert server.site.bodies == []


def test_the_token_alone_leads_to_the_page(server):
    status, _, headers = ask(server, path="/{token}")

    assert (status, headers["Location"]) == (303, f"/{server.token}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1:{port}", "localhost:{port}", "localhost:1234"])
def test_the_machines_own_names_are_served(server, host):
    assert ask(server, Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.2", "[::1]",
     "localhost:", "localhost:x", "localhost@evil.example", "LOCALHOST.", ""],
)  # fmt: skip
def test_a_foreign_host_is_refused(server, host):
    assert ask(server, Host=host)[0] == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", ""]
)
def test_a_foreign_origin_is_refused(server, origin):
    host = "127.0.0.1:{port}"

    assert ask(server, "POST", body=b"{}", Host=host, Origin=origin)[0] == 403
    assert ask(server, Host=host, Origin=origin)[0] == 403
    assert server.site.bodies == []


def test_the_pages_own_origin_is_served(server):
    assert ask(server, "POST", body=b"{}", Host="localhost:{port}", Origin="http://localhost:{port}")[0] == 200


def test_a_body_of_100_mb_is_refused_and_the_answer_arrives(server):
    assert ask(server, "POST", body=bytes(100 * 2**20))[0] == 413
    assert server.site.bodies == []


def test_the_largest_body_is_taken(server):
    assert ask(server, "POST", body=bytes(MAX_BODY))[0] == 200


@pytest.mark.parametrize("length", ["-1", "many", "²", "1" * 5000])
def test_a_body_without_a_sound_length_is_refused(server, length):
    with socket.create_connection(server.server_address, timeout=20) as connection:
        connection.sendall(
            f"POST /{server.token}/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        status = connection.makefile("rb").readline().split()[1]

    assert status in (b"411", b"413", b"431") and server.site.bodies == []


def test_a_chunked_body_is_refused(server):
    assert ask(server, "POST", body=b"5\r\nhello\r\n0\r\n\r\n", Transfer_Encoding="chunked")[0] == 411


def test_what_is_not_there_is_told(server):
    assert ask(server, path="/{token}/nowhere")[0] == 404
    assert ask(server, "DELETE")[0] == 501
