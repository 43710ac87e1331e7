"""A trained run over HTTP: POST the bytes of an image, and get its classes as JSON.

    python experiments/serve.py RUN 8000
    curl --data-binary @cat.jpg http://127.0.0.1:8000

RUN may also be weights of another project: a file, a folder of a hub, or hf-hub:OWNER/NAME.
"""

import http.server
import io
import json
import sys

from PIL import Image

import vitax


def serve(source: str, port: int) -> http.server.HTTPServer:
    """A server on the loopback address that is ready to answer."""
    model = vitax.load(source)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                image = Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
                status, answer = 200, model(image)
            except (ValueError, OSError, TypeError, Image.DecompressionBombError) as error:
                status, answer = 400, {"error": str(error)}
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    return http.server.HTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2])).serve_forever()
