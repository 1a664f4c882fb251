"""A local HTTP server with the calls of Kubeflow Pipelines' API v2beta1 that Hivemill makes, as its reference has them.

https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
import uuid
from typing import Any

_PREFIX = "/apis/v2beta1"
_PAGE = 2  # small, so that a client that reads one page only is found out


class KubeflowServer:
    """`runs`, `recurring` and `experiments` are what was created; `states` the states that a run goes through."""

    def __init__(self, token: str | None = None):
        self.token, self.states = token, ["PENDING", "RUNNING", "SUCCEEDED"]
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.recurring: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.down_for = 0  # so many answers are 503
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None) -> tuple[int, Any]:
        kind, _, name = path.removeprefix(_PREFIX + "/").partition("/")
        if kind == "healthz":
            return 200, {"multi_user": False}
        if kind == "experiments":
            return self._experiment(method, query, body)
        if kind == "runs":
            return self._run(method, name, body)
        if kind == "recurringruns":
            return self._recurring(method, name, query, body)
        return 404, {"error": "Not Found", "message": f"no such call: {method} {path}"}

    def _experiment(self, method: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            self.experiments.append({**body, "experiment_id": str(uuid.uuid4())})
            return 200, self.experiments[-1]
        found = _filtered(self.experiments, query)
        return 200, {"experiments": found, "total_size": len(found)}

    def _run(self, method: str, name: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            known = [one["experiment_id"] for one in self.experiments]
            if body["experiment_id"] not in known or body["pipeline_spec"]["pipeline_spec"]["schemaVersion"] != "2.1.0":
                return 400, {"message": "Invalid input error: no such experiment, or no pipeline spec"}
            self.runs.append({**body, "run_id": str(uuid.uuid4()), "state": "PENDING"})
            return 200, self.runs[-1]
        run = next((one for one in self.runs if one["run_id"] == name), None)
        if run is None:
            return 404, {"message": f"Run {name} not found."}
        run["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, run

    def _recurring(self, method: str, name: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "DELETE":
            self.recurring = [one for one in self.recurring if one["recurring_run_id"] != name]
            return 200, {}
        if method == "POST":
            fields = body["trigger"]["cron_schedule"]["cron"].split()
            if len(fields) != 6:
                return 400, {"message": f"Invalid input error: cron must have 6 fields, has {len(fields)}"}
            status = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
            self.recurring.append({**body, "recurring_run_id": str(uuid.uuid4()), "status": status})
            return 200, self.recurring[-1]
        found = [one for one in self.recurring if one["experiment_id"] == query.get("experiment_id")]
        found, start = _filtered(found, query), int(query.get("page_token") or 0)
        page = {"recurringRuns": found[start : start + _PAGE], "total_size": len(found)}
        return 200, page | ({"next_page_token": str(start + _PAGE)} if start + _PAGE < len(found) else {})


def _filtered(found: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", ()):
        assert predicate["operation"] in ("EQUALS", 1)
        found = [one for one in found if one[predicate["key"]] == predicate["stringValue"]]
    return found


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: KubeflowServer

    def _handle(self) -> None:
        state, parts = self.server_state, urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        state.calls.append(f"{self.command} {parts.path}")
        if state.down_for:
            state.down_for -= 1
            status, answer = 503, {"message": "upstream is down"}
        elif state.token is not None and self.headers.get("authorization") != f"Bearer {state.token}":
            status, answer = 401, {"message": "Request header error: there is no user identity header."}
        else:
            query = {key: values[0] for key, values in urllib.parse.parse_qs(parts.query).items()}
            status, answer = state.answer(self.command, parts.path, query, body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, *_: object) -> None:
        """Tests say what matters."""
