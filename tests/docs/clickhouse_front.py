"""The engine of ClickHouse behind as much of its HTTP interface as a collector needs. A program of the environment that has it:

python clickhouse_front.py FOLDER     writes its port on a line of its own
"""

import importlib
import re
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

INSERT = r"(?is)\s*INSERT INTO ([\w.`]+)\s*\((.*?)\).*FORMAT (\w+)"


class Engine:
    """One database, one query at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._session: Any = importlib.import_module("chdb.session").Session(str(folder / "data"))

    def ask(self, query: str, body: bytes) -> bytes:
        """The answer as tab-separated lines with names. Raises RuntimeError with what the engine says."""
        insert = re.match(INSERT, query)
        with self._lock:
            if insert is None:
                return bytes(self._session.query(query, "TabSeparatedWithNames").bytes())
            self._insert(insert[1].replace("`", ""), insert[2], insert[3], body)
        return b""

    def _insert(self, table: str, listed: str, kind: str, body: bytes) -> None:
        """What comes with a query is a file to this engine, which wants to know its columns."""
        database, _, name = table.rpartition(".")
        where = f"WHERE database = '{database or 'otel'}' AND table = '{name}'"
        told = self._session.query(f"SELECT name, type FROM system.columns {where}", "TabSeparated").bytes().decode()
        types = dict(line.split("\t", 1) for line in told.splitlines())
        columns = [column.strip().strip("`") for column in listed.split(",")]
        path = self._folder / "body"
        path.write_bytes(body)
        structure = ", ".join(f"`{column}` {types[column]}" for column in columns)
        names = ", ".join(f"`{column}`" for column in columns)
        rows = f"SELECT {names} FROM file('{path}', '{kind}', '{structure}')"
        self._session.query(f"INSERT INTO {database or 'otel'}.{name} ({names}) {rows}")


def main(folder: Path) -> None:
    """Serve until killed."""
    engine = Engine(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("transfer-encoding") == "chunked":
                body = self._chunks()
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("query", [""])[0]
            try:
                status, answer = 200, engine.ask(query, body)
            except Exception as error:
                status, answer = 500, str(error).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
