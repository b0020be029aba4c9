"""A server that stands in for W&B's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dashboards import Record
from wandb_runs import KEY


class Server(ThreadingHTTPServer):
    """Answers what the dashboard asks of W&B's GraphQL endpoint, or refuses all of it; remembers what was saved."""

    def __init__(self, refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.refuses = refuses
        self.projects: list[Record] = []
        self.views: list[Record] = []


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert isinstance(self.server, Server)
        if self.path != "/graphql" or self.server.refuses:
            return self._send(401 if self.server.refuses else 404, {"errors": [{"message": "no"}]})
        asked = json.loads(body)
        self._send(200, {"data": self._answer(self.server, asked["query"], asked.get("variables") or {})})

    do_GET = do_POST

    def _answer(self, server: Server, query: str, variables: Record) -> Record:
        if "upsertView(" in query:
            server.views.append(variables)
            project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
            names = {name: variables[name] for name in ("name", "displayName", "type", "spec")}
            view = {"id": f"Vmlldzo{len(server.views)}", "description": "", "project": project, **names}
            return {"upsertView": {"view": view, "inserted": True}}
        if "upsertModel(" in query:
            server.projects.append(variables["input"])
            return {"result": {"project": None, "model": None, "inserted": True}}
        if "models(" in query:
            return {"models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}
        user = {"id": "u", "username": "me", "entity": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": user}

    def _send(self, code: int, answer: Record) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(patch: pytest.MonkeyPatch, refuses: bool = False) -> Iterator[tuple[Server, str]]:
    with Server(refuses) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        patch.setenv("WANDB_BASE_URL", url)
        patch.setenv("WANDB_API_KEY", KEY)
        try:
            yield server, url
        finally:
            server.shutdown()
