"""One request to an ASGI application, in this process and without a network."""

import asyncio
import contextlib
import threading

from helpers.http_server import Client


async def asgi_call(app, method, path, body=b"", headers=(), query=b"", leaves=None):
    """(status, headers, body); with an event `leaves`, the client is gone when it is set, and status may be None."""
    parts = [body]
    gone = leaves or asyncio.Event()

    async def receive():
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    sent = []

    async def send(message):
        sent.append(message)

    listed = {"host": "localhost", "content-length": str(len(body)), **dict(headers)}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in listed.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    if not sent:
        return None, {}, b""
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


class Lifespan:
    """An application that has started, as a server starts it; it ends with the block."""

    def __init__(self, app):
        self.app = app

    async def __aenter__(self):
        self.inbox, self.outbox = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.ensure_future(self.app(scope, self.inbox.get, self.outbox.put))
        await self._step("lifespan.startup")
        return self.app

    async def __aexit__(self, *_):
        await self._step("lifespan.shutdown")
        await self.task

    async def _step(self, name):
        await self.inbox.put({"type": name})
        message = await self.outbox.get()
        assert message["type"] == f"{name}.complete", message


class InProcess(Client):
    """An application in this process, with the requests of a server of its own."""

    def __init__(self, app):
        self.app = app
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def wait(self, work, timeout=60):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def request(self, method, path, body=None, headers=None, timeout=60):
        body = body.encode() if isinstance(body, str) else body or b""
        path, _, query = path.partition("?")
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        status, found, content = self.wait(asgi_call(self.app, method, path, body, sent, query.encode()), timeout)
        return status, Headers({name.title(): value for name, value in found.items()}), content


class Headers(dict):
    """Headers of a response; an absent one is None, as in http.client."""

    def __missing__(self, name):
        return None


@contextlib.contextmanager
def in_process(app):
    """An application that has started; it ends with the block."""
    found = InProcess(app)
    lifespan = Lifespan(app)
    found.wait(lifespan.__aenter__())
    try:
        yield found
    finally:
        found.wait(lifespan.__aexit__())
        found.loop.call_soon_threadsafe(found.loop.stop)
