"""A server on the loopback address that answers like the Hugging Face hub, and can fail half-way."""

import contextlib
import hashlib
import http.server
import json
import threading
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories that a server offers.

    Attributes:
        files: {repository: {file: bytes}}.
        private: repositories that want the token "secret".
        breaks: {file: bytes after which its first download ends}.
        damaged: files whose bytes are not those of their checksum.
        requests: "METHOD path range" of all requests so far.
    """

    def __init__(self):
        self.files, self.private, self.breaks, self.damaged, self.requests = {}, set(), {}, set(), []
        self.url = ""

    def downloads(self):
        """The requests for contents, without those that ask what there is."""
        return [line for line in self.requests if line.startswith("GET") and ("/resolve/" in line or "/cdn/" in line)]


@contextlib.contextmanager
def serving(hub):
    """Serves a hub on a free port, which ``hub.url`` names."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(hub, monkeypatch, cache):
    """Makes a hub the one that ``huggingface_hub`` asks, with a cache of its own."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if path.startswith("/cdn/"):
            repository, name = path.removeprefix("/cdn/").split("//")
            return self._contents(repository, name, body)
        path = path.replace("/api/datasets/", "/api/models/").removeprefix("/datasets")
        repository = next(
            (name for name in self.hub.files if path.startswith((f"/api/models/{name}", f"/{name}/"))), ""
        )
        if not repository:
            return self._refuse(404, "RepoNotFound")
        if repository in self.hub.private and self.headers.get("Authorization") != "Bearer secret":
            return self._refuse(403, "GatedRepo")
        files = self.hub.files[repository]
        if path.startswith("/api/"):
            revision = path.removeprefix(f"/api/models/{repository}").removeprefix("/revision/")
            if revision not in ("", "main", "v1", COMMIT):
                return self._refuse(404, "RevisionNotFound")
            listed = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            return self._json({"id": repository, "sha": COMMIT, "siblings": listed})
        revision, _, name = path.removeprefix(f"/{repository}/resolve/").partition("/")
        if revision not in ("main", "v1", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        if not name.endswith((".safetensors", ".bin", ".npz", ".msgpack", ".parquet")):
            return self._contents(repository, name, body)
        # Large files lie on another host, as on the hub.
        self.send_response(302)
        self.send_header("Location", f"{self.hub.url}/cdn/{repository}//{name}".replace("127.0.0.1", "localhost"))
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(files[name]).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(files[name])))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _contents(self, repository, name, body):
        data = self.hub.files[repository][name]
        start, end = 0, len(data)
        if wanted := self.headers.get("Range", "").removeprefix("bytes="):
            first, _, last = wanted.partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hashlib.sha1(b"blob %d" % len(data) + bytes(1) + data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            sent = data[start:end]
            if name in self.hub.damaged:
                sent = sent[:-1] + bytes([sent[-1] ^ 1])
            if stop := self.hub.breaks.pop(name, 0):
                self.wfile.write(sent[:stop])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(sent)

    def _json(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
