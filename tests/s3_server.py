"""A server on loopback that answers a few requests of the S3 protocol."""

import http.server
import re
import threading
import time
import urllib.parse

_LIST = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<IsTruncated>false</IsTruncated><KeyCount>{count}</KeyCount>{files}{folders}</ListBucketResult>"
)
_FILE = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>1</ETag>"
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
_FOLDER = "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"


class S3Server:
    """Serves the files of one bucket, and keeps the requests.

    Args:
        files: The contents by key; None for one that is never answered.
    """

    def __init__(self, files):
        self.files, self.requests = files, []
        outer = self

        class Handler(_Handler):
            server_files = outer.files
            server_requests = outer.requests

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server_files: dict[str, bytes | None]
    server_requests: list[str]

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        key = urllib.parse.unquote(address.path.lstrip("/")).partition("/")[2]
        self.server_requests.append(f"{self.command} {key or 'list'}")
        if "list-type" in query:
            return self._answer(200, self._listing(query.get("prefix", ""), query.get("delimiter", "")))
        if key not in self.server_files:
            return self._answer(404, b"")
        data = self.server_files[key]
        if data is None:
            time.sleep(5)
            return None
        span = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            return self._answer(200, data)
        return self._answer(206, data[int(span[1]) : int(span[2] or len(data)) + 1])

    def _listing(self, prefix, delimiter):
        files, folders = [], set()
        for key, data in self.server_files.items():
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                files.append(_FILE.format(key=key, size=len(data or b"")))
        text = _LIST.format(count=len(files), files="".join(files), folders="".join(map(_FOLDER.format, folders)))
        return text.encode()

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
