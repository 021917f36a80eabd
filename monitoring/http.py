"""The HTTP endpoint of a process, on a thread of its own: it answers whatever the event loop does, or fails to do."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from schemas.settings import SettingsError

SLOWEST_SECONDS = 5.0
"Who takes longer to ask, or to take the answer, is cut off."
STOP_SECONDS = 0.1
"Within which the thread sees that it is to end."


class Page(NamedTuple):
    """An answer."""

    status: str
    content_type: str
    body: bytes


@contextmanager
def serving(host: str, port: int, application: WSGIApplication) -> Iterator[int]:
    """Serve while the block runs; yields the port, which is another one where it was 0.

    Raises:
        SettingsError: the host or the port cannot be had; names the setting.
    """
    server = _listen(host, port, application)
    thread = threading.Thread(target=server.serve_forever, args=(STOP_SECONDS,), name="http", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def routes(pages: Mapping[str, Callable[[], Page]], applications: Mapping[str, WSGIApplication]) -> WSGIApplication:
    """An application that answers GET and HEAD of the pages, and leaves other paths to the applications."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in applications:
            return applications[path](environ, start_response)
        if path not in pages:
            known = ", ".join([*pages, *applications])
            page = Page("404 Not Found", "text/plain", f"There is {known}.\n".encode())
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            page = Page("405 Method Not Allowed", "text/plain", b"Expected GET or HEAD.\n")
        else:
            page = pages[path]()
        length = str(len(page.body))
        start_response(
            page.status,
            [("Content-Type", page.content_type), ("Content-Length", length), ("Cache-Control", "no-store")],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [page.body]

    return answer


def _listen(host: str, port: int, application: WSGIApplication) -> WSGIServer:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    except OSError as error:
        raise SettingsError(f"WALLETQ_HTTP_HOST: {host} is no address of this machine: {error.strerror}") from None
    except UnicodeError:
        raise SettingsError(f"WALLETQ_HTTP_HOST: {host} is no address: a label is empty or too long") from None
    listening = type("_Listening", (_Server,), {"address_family": family})
    try:
        server: WSGIServer = make_server(host, port, application, listening, _Handler)
    except OSError as error:
        raise SettingsError(
            f"WALLETQ_HTTP_PORT: cannot listen on port {port} of {host} (WALLETQ_HTTP_HOST): {error.strerror}"
        ) from None
    return server


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the name service for this machine's name, which may take its time.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no event."""


class _Handler(WSGIRequestHandler):
    timeout = SLOWEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base calls it
        """A probe every few seconds is no event either."""
