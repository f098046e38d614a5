#!/usr/bin/env python3
"""Takes commit statuses as GitHub's and GitLab's APIs do, and writes each down as a line of JSON."""
import http.server
import json
import sys

LOG = sys.argv[1]


class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        token = self.headers.get("private-token") or self.headers.get("authorization")
        with open(LOG, "a", encoding="utf-8") as log:
            print(json.dumps({"path": self.path, "token": token, **body}), file=log, flush=True)
        answer = json.dumps({"id": 1, "state": body["state"], "description": body["description"]}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Api).serve_forever()
