"""`hrnet-serve`: serve artifacts over HTTP: images, the V2 protocol, metrics and a page."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import re
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hrnet_deploy.cli.console import flush_output, next_command, print_json, print_message
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import (
    BATCH,
    SECONDS,
    STREAMS,
    add_runtime_flags,
    add_special_flag,
    number,
    parser,
    whole_number,
)
from hrnet_deploy.engines.remote.address import is_loopback
from hrnet_deploy.engines.remote.remote_model import Token
from hrnet_deploy.errors import DeviceError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.limits import IMAGE_PIXELS, SERVER_BODY_BYTES, SERVER_CONNECTIONS, SERVER_QUEUE

if TYPE_CHECKING:
    import uvicorn

_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)", re.DOTALL)
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognized, not bound
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_KEEP_ALIVE_S = 20
_BACKLOG = 2048


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    p = parser("hrnet-serve", "Serve exported models over HTTP: REST, the V2 protocol, metrics and a page.")
    p.add_argument(
        "artifact",
        nargs="+",
        metavar="[NAME=]ARTIFACT",
        help="an .onnx or .engine file created by hrnet-export; its name is that of the file unless NAME is given",
    )
    p.add_argument("--host", default="127.0.0.1", metavar="H", help="address to bind (default: 127.0.0.1)")
    p.add_argument(
        "--port",
        type=whole_number(0, 65535),
        default=8000,
        metavar="N",
        help="port; 0 for any free one (default: 8000)",
    )
    p.add_argument("--token-file", metavar="FILE", help="require the bearer token that this file holds")
    p.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="also allow this name in the Host header"
    )
    add_runtime_flags(p)
    add_special_flag(p)
    p.add_argument(
        "--streams", type=STREAMS, metavar="N", help="inferences side by side (default: by machine and model)"
    )
    limits = p.add_argument_group("limits")
    limits.add_argument(
        "--queue",
        type=whole_number(1, SERVER_QUEUE),
        default=128,
        metavar="N",
        help="images accepted at a time (default: 128)",
    )
    limits.add_argument(
        "--max-body",
        type=number(0, SERVER_BODY_BYTES / 1e6),
        default=20,
        metavar="MB",
        help="body of a request (default: 20)",
    )
    limits.add_argument(
        "--max-pixels",
        type=whole_number(1, IMAGE_PIXELS),
        default=50_000_000,
        metavar="N",
        help="of an image (default: 50 M)",
    )
    limits.add_argument("--max-images", type=BATCH, default=64, metavar="N", help="images of a request (default: 64)")
    limits.add_argument("--max-batch", type=BATCH, default=8, metavar="N", help="images of an inference (default: 8)")
    limits.add_argument(
        "--max-connections",
        type=whole_number(1, SERVER_CONNECTIONS),
        default=256,
        metavar="N",
        help="at a time (default: 256)",
    )
    limits.add_argument("--timeout", type=SECONDS, default=30, metavar="S", help="from request to result (default: 30)")
    limits.add_argument(
        "--read-timeout", type=SECONDS, default=15, metavar="S", help="for head, and body (default: 15)"
    )
    limits.add_argument(
        "--batch-wait-ms", type=SECONDS, default=0, metavar="MS", help="wait for a fuller batch (default: 0, never)"
    )
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError(
            f"hrnet-serve needs uvicorn, got: {error}. pip install 'hrnet-deploy[serve]'."
        ) from error
    from hrnet_deploy import serving
    from hrnet_deploy.serving.connections import limited

    application = serving.app(
        _models(args.artifact),
        limits=_limits(args),
        token=None if args.token_file is None else _token(Path(args.token_file)),
        hosts=_allowed_hosts(args.host, args.allow_host),
        device=args.device,
        backend=args.backend,
        threads=args.threads,
        streams=args.streams,
    )
    models = application.state.models
    with contextlib.closing(_bind(args.host, args.port)) as listener:
        models.open()
        gc.collect()
        gc.freeze()  # what lives as long as the server is not searched again
        config = uvicorn.Config(
            application,
            ws="none",
            log_config=None,
            access_log=args.verbose,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        config.load()
        protocol = limited(
            config.http_protocol_class, connections=args.max_connections, head_timeout_s=args.read_timeout
        )
        config.http_protocol_class = protocol
        if not args.verbose:  # one line for each malformed request or image would fill the disk
            for name in ("uvicorn.error", "hrnet_deploy.imaging.decode_image"):
                logging.getLogger(name).setLevel(logging.ERROR)
        _serve(args, config, listener, models)
    return 0


def _serve(args: argparse.Namespace, config: uvicorn.Config, listener: socket.socket, models: Any) -> None:
    """Run the server; a signal drains it, and a second one ends it at once."""
    import uvicorn

    class Server(uvicorn.Server):
        """A server that reports its address, and ends with 0 after a signal."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _announce(args, listener, models.names)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            del frame
            if self.should_exit:
                os._exit(128 + sig)
            models.is_draining = True
            self.should_exit = True

    Server(config).run([listener])


def _announce(args: argparse.Namespace, listener: socket.socket, names: Sequence[str]) -> None:
    """Print the address, and what to do next."""
    port = listener.getsockname()[1]
    shown = "localhost" if args.host in _EVERYWHERE else f"[{args.host}]" if ":" in args.host else args.host
    url = f"http://{shown}:{port}"
    print_message(args, f"Serving {', '.join(names)} on {url} (a page for the browser; Ctrl-C ends it)")
    if args.token_file is None and not is_loopback(args.host):
        print_message(args, f"hrnet-serve: everyone who reaches {url} may use it. Require a token: --token-file FILE")
    words = ["curl", "--data-binary", "@IMAGE", f"{url}{'' if len(names) == 1 else f'/models/{names[0]}'}/predict"]
    if args.token_file is None:
        next_command(args, *words)
    else:  # the shell reads the file, so that the token is on no command line
        header = f'"Authorization: Bearer $(cat {shlex.quote(args.token_file)})"'
        print_message(args, f"Next: curl -H {header} {shlex.join(words[1:])}")
    if args.json:
        print_json({"url": url, "host": args.host, "port": port, "models": list(names)}, compact=True)
        flush_output()  # its reader waits for this line


def _models(given: Sequence[str]) -> dict[str, Path]:
    """Read [NAME=]PATH; a name is the file's own without its suffix where none is given."""
    models: dict[str, Path] = {}
    for text in given:
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        name, path = (match[1], Path(match[2])) if match else (Path(text).stem, Path(text))
        if name in models:
            raise UsageError(
                f"each model needs a name of its own, got '{name}' for {models[name]} and {path}. Use NAME={path}."
            )
        if not path.is_file():
            raise MissingFileError(f"artifact must be a file, got {path}. Check the path.")
        models[name] = path
    return models


def _limits(args: argparse.Namespace) -> Any:
    """Collect the limits of requests."""
    from hrnet_deploy.serving import Limits

    return Limits(
        body_bytes=round(args.max_body * 1e6),
        pixels=args.max_pixels,
        images=args.max_images,
        queue=args.queue,
        batch=args.max_batch,
        timeout_s=args.timeout,
        read_timeout_s=args.read_timeout,
        batch_wait_s=args.batch_wait_ms / 1e3,
    )


def _token(path: Path) -> str:
    """Read the token as clients read theirs."""
    try:
        return Token.read(path).text
    except UsageError as error:
        raise UsageError(f"--token-file: {error} A new token: openssl rand -hex 32 > {path}") from error


def _allowed_hosts(host: str, more: Sequence[str]) -> set[str] | None:
    """Return the names of a server on this machine alone, so that no other site's page reaches it by its own name."""
    if not is_loopback(host):
        return set(more) or None
    return {*_LOCAL_NAMES, f"[{host}]" if ":" in host else host, *more}


def _bind(host: str, port: int) -> socket.socket:
    """Bind the address."""
    listener = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # Named TCP, because asyncio sets TCP_NODELAY only then: without it a response waits 40 ms for the client's ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise DeviceError(
            f"address {host}:{port} must be free and this machine's, got: {error.strerror}. Choose another --port."
        ) from error
    return listener


def main() -> int:
    """Run hrnet-serve and return the exit code."""
    return launch("hrnet-serve", parse_args, run)
