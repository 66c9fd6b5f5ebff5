"""A web server for a folder of published weights that can be told to fail."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Mirror:
    """Serves a folder on the loopback address.

    Attributes:
        url: of the folder.
        requests: of each file, the bytes that were asked for: the first of them, 0 without a range.
        troubles: what goes wrong, by file, one for each coming request, the last of them for ever: a status; ``cut N``
            (the line breaks after N bytes); ``wrong`` (a bit is flipped); ``long`` (bytes too many); ``short`` (a
            length that agrees with too few bytes); ``drip`` (a byte every 20 ms); ``silent`` (nothing after 100 bytes);
            ``slow head``, ``slow chunk`` (a header, a chunk's length, of which a byte comes every 20 ms and which never
            ends); ``round`` (it leads to itself); ``whole`` (ranges aren't known); ``fine``.
        length: what is said of each answer's length; the truth by default.
        pace: seconds before each piece of 64 kB.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: dict[str, list[int]] = defaultdict(list)
        self.troubles: dict[str, list[str]] = {}
        self.pace = 0.0
        self.length: str | None = None
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                asked = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
                start = int(asked[1]) if asked else 0
                server.requests[name].append(start)
                troubles = server.troubles.get(name, ["fine"])
                trouble = troubles.pop(0) if len(troubles) > 1 else troubles[0]
                if not (folder / name).is_file():
                    trouble = "404"
                if trouble.isdecimal():
                    self.send_error(int(trouble))
                    return
                if trouble.startswith("slow"):
                    self.send_for_ever(trouble)
                    return
                if trouble == "round":
                    self.send_response(302)
                    self.send_header("Location", self.path)
                    self.end_headers()
                    return
                content = bytearray((folder / name).read_bytes())
                if trouble == "wrong":
                    content[len(content) // 2] ^= 1
                elif trouble == "long":
                    content += bytes(100)
                elif trouble == "short":
                    del content[-100:]
                if trouble == "whole":
                    start = 0
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                if trouble != "long":  # else its length would tell
                    self.send_header("Content-Length", server.length or str(len(content) - start))
                self.end_headers()
                self.send_body(bytes(content[start:]), trouble)

            def send_for_ever(self, trouble: str) -> None:
                head = b"HTTP/1.1 200 OK\r\n"
                self.wfile.write(head if trouble == "slow head" else head + b"Transfer-Encoding: chunked\r\n\r\n")
                while not server._closing.wait(0.02):
                    try:
                        self.wfile.write(b"0")
                    except ConnectionError:
                        return

            def send_body(self, content: bytes, trouble: str) -> None:
                if trouble.startswith("cut"):
                    content = content[: int(trouble.split()[1])]
                if trouble == "silent":
                    self.wfile.write(content[:100])
                    self.wfile.flush()
                    server._closing.wait(20)
                    return
                size = 1 if trouble == "drip" else 1 << 16
                for begin in range(0, len(content), size):
                    if server._closing.wait(0.02 if trouble == "drip" else server.pace):
                        return
                    try:
                        self.wfile.write(content[begin : begin + size])
                    except ConnectionError:
                        return

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/weights"

    @contextmanager
    def running(self) -> Iterator[Mirror]:
        """Answer requests in a thread."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Answer no more."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()
            time.sleep(0.01)
