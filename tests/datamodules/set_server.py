"""A web server for sets of shards that can be told to fail, and a watch over what a folder takes."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class SetServer:
    """Serves a folder on the loopback address.

    Attributes:
        url: of the folder.
        requests: how often each file was asked for.
        troubles: what goes wrong, by file, one for each coming request: a status, ``drop`` (the line breaks off in the
            middle), ``cut`` (the end is missing, with a length that agrees), ``wrong`` (a bit is flipped), ``long``
            (bytes too many), ``stall`` (silence after 100 bytes) or ``fine``.
        delay: seconds before each reply.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: Counter[str] = Counter()
        self.troubles: dict[str, list[str]] = defaultdict(list)
        self.delay = 0.0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                with server._lock:
                    server.requests[name] += 1
                    troubles = server.troubles[name]
                    trouble = troubles.pop(0) if troubles else "fine"
                time.sleep(server.delay)
                if not (folder / name).is_file():
                    trouble = "404"
                if trouble.isdecimal():
                    self.send_error(int(trouble))
                    return
                content = bytearray((folder / name).read_bytes())
                half = len(content) // 2
                if trouble == "wrong":
                    content[half] ^= 1
                elif trouble == "cut":
                    del content[half:]
                elif trouble == "long":
                    content += bytes(len(content))
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: {"drop": half, "stall": 100}.get(trouble)])
                if trouble == "stall":
                    self.wfile.flush()
                    server._closing.wait(20)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/sets/mine"

    @contextmanager
    def running(self) -> Iterator[SetServer]:
        """Answer requests in a thread."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Look all the time at what the files in a folder take together; the list's last number is the most seen."""
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.is_set():
            sizes: dict[int, int] = {}  # by inode: a file may be met again under its new name
            for path in folder.glob("*"):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                sizes[status.st_ino] = status.st_size
            most.append(max(most.pop(), sum(sizes.values())))
            time.sleep(0.0005)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
