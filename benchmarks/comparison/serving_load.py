"""Clients of a server in one process, each with a connection of its own; prints images per second.

python serving_load.py PORT PATH CONTENT_TYPE SECONDS CONNECTIONS BODY ...
"""

from __future__ import annotations

import http.client
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def client(port: int, path: str, content_type: str, bodies: list[bytes], end_s: float) -> int:
    """Send bodies in turn until the time is up; return how many."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    done = 0
    for body in itertools.cycle(bodies):
        if time.monotonic() >= end_s:
            break
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        content = response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path} responded {response.status}: {content!r:.200}")
        done += 1
    return done


if __name__ == "__main__":
    port, path, content_type, seconds, connections, *names = sys.argv[1:]
    bodies = [Path(name).read_bytes() for name in names]
    began = time.monotonic()
    with ThreadPoolExecutor(int(connections)) as pool:
        turns = [bodies[index:] + bodies[:index] for index in range(int(connections))]
        jobs = [pool.submit(client, int(port), path, content_type, turn, began + float(seconds)) for turn in turns]
        count = sum(job.result() for job in jobs)
    print(count / (time.monotonic() - began))
