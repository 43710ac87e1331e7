"""A server of files on the loopback address that answers range requests, and fails, stalls, truncates or forgets ranges."""

import contextlib
import http.server
import re
import threading
import time


class Web:
    """Files that a server offers, and what goes wrong with the next requests for contents.

    Attributes:
        files: {path: bytes}.
        wrong: what happens to the next requests, in order: "500", "stall", "truncate", "drop", or "" for nothing.
        ranges: whether it answers range requests.
        refused: paths of which the next request, also for a header, is answered with 503.
        requests: "METHOD path range" of all requests so far.
    """

    def __init__(self):
        self.files, self.wrong, self.ranges, self.requests, self.url = {}, [], True, [], ""
        self.refused = []


@contextlib.contextmanager
def serving(web):
    """Serves files on a free port, which ``web.url`` names."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, contents):
        asked = self.headers.get("Range", "")
        self.web.requests.append(f"{self.command} {self.path} {asked}".strip())
        path = self.path.lstrip("/").partition("?")[0]
        if path in self.web.refused:
            self.web.refused.remove(path)
            self.send_error(503)
            return
        data = self.web.files.get(path)
        if data is None:
            self.send_error(404)
            return
        if self.headers.get("If-Match", f'"{hash(data)}"') != f'"{hash(data)}"':
            self.send_error(412)
            return
        wrong = self.web.wrong.pop(0) if contents and self.web.wrong else ""
        if wrong == "500":
            self.send_error(500)
            return
        matched = re.fullmatch(r"bytes=(\d+)-(\d*)", asked) if self.web.ranges else None
        first, last = (int(matched[1]), int(matched[2] or len(data) - 1)) if matched else (0, len(data) - 1)
        part = data[first : last + 1]
        self.send_response(206 if matched else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hash(data)}"')
        self.send_header("Accept-Ranges", "bytes" if self.web.ranges else "none")
        if matched:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        if not contents:
            return
        with contextlib.suppress(OSError):
            if wrong:
                self.wfile.write(part[: len(part) // 2])
                self.wfile.flush()
                self.close_connection = True
                time.sleep(3 if wrong == "stall" else 0)
                return
            self.wfile.write(part)

    def log_message(self, *_):
        pass
