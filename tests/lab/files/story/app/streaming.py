"""The streaming server, as far as a cutover sees it: a health page, and connections that stay open."""

import contextlib
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stream(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        health = self.path == "/api/v1/streaming/health"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if health else "text/event-stream")
        self.send_header("X-App-Host", socket.gethostname())
        self.end_headers()
        if health:
            self.wfile.write(b"OK\n")
            return
        while True:
            self.wfile.write(b":thump\n")
            time.sleep(1)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            super().handle()

    def log_message(self, *_: object) -> None:
        """The journal need not hold every request."""


with ThreadingHTTPServer(("0.0.0.0", 4000), Stream) as server:
    server.serve_forever()
