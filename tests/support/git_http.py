"""Repositories over HTTP, for those who give the right name and password.

A request is written down before it is answered: who asked, and what everybody can read of the programs of this machine
meanwhile, the one that asks among them. What is below /away/ is said to be on another server.
"""

import base64
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

home, told, away = sys.argv[1:4]
login, secret = os.environ["LOGIN"], os.environ["LOGIN"].split(":")[1]


def lines():
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield place.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            pass


class Forge(BaseHTTPRequestHandler):
    def answer(self):
        given = self.headers.get("Authorization", "")
        given = base64.b64decode(given.removeprefix("Basic ")).decode()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asks = f"http://127.0.0.1:{self.server.server_port}/"
        read = [line for line in lines() if secret in line or ("remote-http" in line and asks in line)]
        with open(told, "a") as file:
            file.write(json.dumps({"given": given, "read": read}) + "\n")
        if self.path.startswith("/away/"):
            self.send_response(302)
            self.send_header("Location", away + self.path.removeprefix("/away"))
            self.end_headers()
        elif given != login:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.backend(body)

    def backend(self, body):
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "GIT_PROJECT_ROOT": home,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = [value for name, value in headers if name == "Status"]
        self.send_response(int(status[0].split()[0]) if status else 200)
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Forge)
print(server.server_port, flush=True)
server.serve_forever()
