"""The way of a request to its server and on to the targets of redirects: http(s), and never from public to private."""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.parse
import urllib.request
from typing import Any

from hrnet_deploy.system.text_table import printable
from hrnet_deploy.system.timed_socket import TimedSocket

_SCHEMES = frozenset({"http", "https"})
_SHOWN_CHARACTERS = 200


class RefusedError(ValueError):
    """A redirect or an address that is not followed."""


class Route:
    """One request with its redirects, each on a connection of its own; proxies of the environment are used.

    Attributes:
        socket: that of the last response.
        host: host and port of the last request as its URL names them.
    """

    def __init__(self, timeout_s: float) -> None:
        self.socket: TimedSocket | None = None
        self.host = ""
        self._timeout_s = timeout_s
        self._begins_public: bool | None = None  # unknown before the first connection
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _HttpHandler(self),
            _HttpsHandler(self),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; a redirect is an HTTPError as other statuses are."""
        self.host = request.host
        if "@" in self.host:
            raise RefusedError("a user name or password in the URL, which is not sent")
        self._check_name(urllib.parse.urlsplit(f"//{self.host}").hostname or "")
        response: http.client.HTTPResponse = self._opener.open(request, timeout=self._timeout_s)
        return response

    def target(self, url: str, location: str) -> str:
        """Return the URL that a redirect names; refuse another protocol, and http after https."""
        target = urllib.parse.urljoin(url, urllib.parse.quote(location, safe="!\"#$%&'()*+,/:;<=>?@[]^_`{|}~"))
        scheme = urllib.parse.urlsplit(target).scheme.lower()
        if scheme not in _SCHEMES or (scheme == "http" and urllib.parse.urlsplit(url).scheme.lower() == "https"):
            raise RefusedError(f"a redirect to {printable(target[:_SHOWN_CHARACTERS])}, which is refused")
        if self._begins_public is None:  # a proxy connected by name
            self._begins_public = True
        return target

    def check_address(self, address: str) -> None:
        """Refuse a private address after a public one."""
        is_public = is_public_address(address)
        if self._begins_public is None:
            self._begins_public = is_public
        elif self._begins_public and not is_public:
            raise RefusedError(f"a redirect from a public server to the private address {address}, which is refused")

    def _check_name(self, host: str) -> None:
        """Refuse a host that is a private address by its spelling; a proxy may hide the address of other names."""
        try:
            address = str(ipaddress.ip_address(host.partition("%")[0]))
        except ValueError:
            address = "127.0.0.1" if host.rstrip(".").lower().split(".")[-1] == "localhost" else ""
        if address:
            self.check_address(address)

    def connection(self, kind: Any, host: str, options: Any) -> Any:
        """Create a connection of `http.client` whose time is limited."""
        connection = kind(host, **options)
        connection.route = self
        connection.deadline = time.monotonic() + self._timeout_s
        return connection


def is_public_address(address: str) -> bool:
    """Whether an IP address belongs to the public internet, not to this machine or a private network."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(found, "ipv4_mapped", None) or found).is_global


class _Checked(http.client.HTTPConnection):
    """A connection that checks the address before anything is sent, TLS included."""

    route: Route
    deadline: float
    is_proxied = False

    def connect(self) -> None:
        super().connect()
        if not self.is_proxied:
            self.route.check_address(self.sock.getpeername()[0])

    def limit_time(self) -> None:
        """Give the socket a deadline."""
        timed: Any = TimedSocket(self.sock, self.deadline)
        self.sock = self.route.socket = timed


class _Plain(_Checked):
    def connect(self) -> None:
        super().connect()
        self.limit_time()


class _Tls(http.client.HTTPSConnection, _Checked):
    def connect(self) -> None:
        super().connect()
        self.limit_time()


class _HttpHandler(urllib.request.HTTPHandler):
    """Opens http URLs of a route."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self._route = route

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL."""
        return _opened(self, _Plain, self._route, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    """Opens https URLs of a route."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self._route = route

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL."""
        return _opened(self, _Tls, self._route, req)


def _opened(handler: Any, kind: Any, route: Route, request: urllib.request.Request) -> http.client.HTTPResponse:
    is_proxied = request.host != route.host  # the proxy handler has replaced it

    def connection(host: str, **options: Any) -> Any:
        created = route.connection(kind, host, options)
        created.is_proxied = is_proxied
        return created

    response: http.client.HTTPResponse = handler.do_open(connection, request)
    return response
