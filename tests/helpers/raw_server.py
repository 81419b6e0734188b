"""A server that sends given bytes, for responses that no HTTP library writes."""

import contextlib
import socket
import threading
import time


class RawServer:
    """A server whose connections follow a script.

    Attributes:
        port: on 127.0.0.1.
        requests: bytes received before each response, over all connections.
        connections: number of connections that were accepted.
    """

    def __init__(self, script):
        self.requests, self.connections = [], 0
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._socket.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                self.connections += 1
                threading.Thread(target=self._run, args=(connection, self.connections), daemon=True).start()

    def _run(self, connection, number):
        with contextlib.suppress(OSError):
            self._script(self, connection, number)
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def receive(self, connection):
        """Wait for one whole request; b"" where the client has closed."""
        content = b""
        while b"\r\n\r\n" not in content:
            piece = connection.recv(65536)
            if not piece:
                return b""
            content += piece
        head, _, body = content.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                return b""
            body += piece
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            connection.close()


@contextlib.contextmanager
def raw_server(script):
    """Run `script(server, connection, number)` for each connection; it may also be bytes to send after a request."""
    if isinstance(script, bytes):
        content = script

        def script(server, connection, _number):
            while server.receive(connection):
                connection.sendall(content)
                if b"Content-Length" not in content:
                    return

    server = RawServer(script)
    try:
        yield server
    finally:
        server.close()


def once(*parts):
    """A script that sends its parts after a request, and closes."""

    def script(server, connection, _):
        server.receive(connection)
        for part in parts:
            connection.sendall(part)

    return script


def forever(head, piece, pause_s=0.0):
    """A script that sends a head after a request, and then the same piece without an end."""

    def script(server, connection, _):
        server.receive(connection)
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause_s)

    return script
