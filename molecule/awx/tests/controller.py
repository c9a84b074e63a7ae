"""A stand-in for AWX's API, as far as awx.awx 24.6.1 asks it: keeps what it is given, and refuses some of what AWX refuses."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

# A collection's type, and the fields that AWX keeps as '' when they are given as null
TYPES = {
    "organizations": "organization",
    "credential_types": "credential_type",
    "credentials": "credential",
    "execution_environments": "execution_environment",
    "projects": "project",
    "inventories": "inventory",
    "inventory_sources": "inventory_source",
    "job_templates": "job_template",
    "workflow_job_templates": "workflow_job_template",
    "workflow_job_template_nodes": "workflow_job_template_node",
    "workflow_approval_templates": "workflow_approval_template",
}
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")
# Lists of objects that hang on another one
LINKS = {
    "organizations": {"galaxy_credentials": "credentials"},
    "job_templates": {"credentials": "credentials"},
    "workflow_job_template_nodes": {"success_nodes": "workflow_job_template_nodes"},
}
SURVEY_TYPES = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": str,
    "integer": int,
    "float": (int, float),
}


class Refused(Exception):
    """An answer other than success: its status, and what it says."""

    def __init__(self, status: int, body: dict):
        super().__init__(body)
        self.status, self.body = status, body


class Controller:
    """What AWX holds: objects by collection and ID, the links between them, and the requests that changed something."""

    def __init__(self, project: pathlib.Path, token: str):
        self.project, self.token = project, token
        self.numbers = itertools.count(1)
        self.objects: dict[str, dict[int, dict]] = defaultdict(dict)
        self.links: dict[tuple[str, int, str], list[int]] = defaultdict(list)
        self.surveys: dict[tuple[str, int], dict] = {}
        self.writes: list[tuple[str, str, dict]] = []
        self.create("credentials", {"name": "Ansible Galaxy", "credential_type": 0})
        for name in ("Machine", "Vault", "Source Control"):
            self.create("credential_types", {"name": name})

    def create(self, kind: str, fields: dict) -> dict:
        number = next(self.numbers)
        url = f"/api/v2/{kind}/{number}/"
        found = {"id": number, "url": url, "type": TYPES[kind], "related": {}, "summary_fields": {}}
        if kind in ("job_templates", "workflow_job_templates"):
            found["related"]["survey_spec"] = f"{url}survey_spec/"
        if kind == "projects":
            found |= {"scm_revision": "", "related": {"update": f"{url}update/"}}
        if kind == "inventories":
            found |= {"kind": "", "host_filter": None}
        self.objects[kind][number] = found
        return self.change(kind, number, fields)

    def change(self, kind: str, number: int, fields: dict) -> dict:
        found = self.objects[kind][number]
        kept = {key: value for key, value in fields.items() if key not in ("type", "managed")}
        if kind == "inventories" and kept.get("kind") is None:
            kept["kind"] = ""
        if kind == "credential_types":
            kept["managed"] = False
        if kind == "credentials":
            kept["inputs"] = self.hidden(kept)
        if kind == "job_templates":
            self.need_playbook({**found, **kept})
        found |= kept
        if found.get("unified_job_template"):
            found["related"]["unified_job_template"] = self.unified(found["unified_job_template"])["url"]
        return found

    def hidden(self, fields: dict) -> dict:
        """The inputs of a credential without those that its type calls secret."""
        kind = self.objects["credential_types"].get(fields["credential_type"], {})
        secret = {field["id"] for field in kind.get("inputs", {}).get("fields", []) if field.get("secret")}
        known = {"ssh_key_data", "vault_password", "password"} | secret
        return {key: "$encrypted$" if key in known else value for key, value in fields.get("inputs", {}).items()}

    def need_playbook(self, template: dict) -> None:
        project = self.objects["projects"].get(template["project"])
        if not project or not project["scm_revision"] or not (self.project / template["playbook"]).is_file():
            raise Refused(400, {"playbook": ["Playbook not found for project."]})

    def unified(self, number: int) -> dict:
        return next(self.objects[kind][number] for kind in UNIFIED if number in self.objects[kind])

    def search(self, kind: str, query: dict) -> dict:
        found = [item for each in (UNIFIED if kind == "unified_job_templates" else [kind]) for item in self.objects[each].values()]
        for key, value in query.items():
            found = [item for item in found if str(item.get(key)) == value]
        return {"count": len(found), "next": None, "results": found}

    def set_survey(self, kind: str, number: int, spec: dict) -> dict:
        for key in ("name", "description", "spec"):
            if key not in spec:
                raise Refused(400, {"error": f"'{key}' missing from survey spec."})
        for question in spec["spec"]:
            self.check_question(question)
        self.surveys[kind, number] = spec
        return {}

    def check_question(self, question: dict) -> None:
        for key in ("type", "question_name", "variable", "required"):
            if key not in question:
                raise Refused(400, {"error": f"'{key}' missing from survey question."})
        default = question.get("default", "")
        if question["type"] not in SURVEY_TYPES:
            raise Refused(400, {"error": f"'{question['type']}' is not an allowed question type."})
        if default != "" and (not isinstance(default, SURVEY_TYPES[question["type"]]) or isinstance(default, bool)):
            raise Refused(400, {"error": f"Default value {default} is of another type than {question['type']}."})
        if question["type"].startswith("multi") and not set(default.splitlines()) <= set(question["choices"]):
            raise Refused(400, {"error": "Default choice must be answered from the choices listed."})

    def answer(self, method: str, path: str, query: dict, body: dict) -> tuple[int, dict]:
        match = re.fullmatch(r"/api/v2/(\w+)/(?:(\d+)/)?(?:(\w+)/)?", path)
        if not match:
            raise Refused(404, {"detail": "Not found."})
        kind, number, part = match[1], int(match[2] or 0), match[3]
        if method != "GET" and kind != "tokens":
            self.writes.append((method, path, body))
        if kind == "tokens":
            return (201, {"id": 1, "token": self.token}) if method == "POST" else (204, {})
        if kind == "project_updates":
            return 200, {"status": "successful", "finished": "now", "failed": False, "scm_revision": "1", "id": number}
        if not number:
            return (200, self.search(kind, query)) if method == "GET" else (201, self.create(kind, body))
        if number not in self.objects[kind]:
            raise Refused(404, {"detail": "Not found."})
        if not part:
            return 200, self.objects[kind][number] if method == "GET" else self.change(kind, number, body)
        return self.answer_part(method, kind, number, part, body)

    def answer_part(self, method: str, kind: str, number: int, part: str, body: dict) -> tuple[int, dict]:
        if part == "survey_spec" and kind in ("job_templates", "workflow_job_templates"):
            return 200, self.surveys.get((kind, number), {}) if method == "GET" else self.set_survey(kind, number, body)
        if part == "update" and kind == "projects":
            self.objects[kind][number]["scm_revision"] = "1"
            return 202, {"id": number, "url": f"/api/v2/project_updates/{number}/", "status": "pending"}
        if part == "create_approval_template" and kind == "workflow_job_template_nodes":
            made = self.create("workflow_approval_templates", body)
            self.change(kind, number, {"unified_job_template": made["id"]})
            return 201, made
        if part not in LINKS.get(kind, {}):
            raise Refused(404, {"detail": "Not found."})
        linked = self.links[kind, number, part]
        if method == "GET":
            items = [self.objects[LINKS[kind][part]][other] for other in linked]
            return 200, {"count": len(items), "next": None, "results": items}
        linked.remove(body["id"]) if body.get("disassociate") else linked.append(body["id"])
        return 204, {}


def handler(controller: Controller) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            url = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            try:
                if self.headers.get("Authorization") != f"Bearer {controller.token}" and not url.path.startswith("/api/v2/tokens/"):
                    raise Refused(401, {"detail": "Authentication credentials were not provided."})
                status, answer = controller.answer(self.command, url.path, dict(parse_qsl(url.query)), body)
            except Refused as refused:
                status, answer = refused.status, refused.body
            content = b"" if status == 204 else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one

        def log_message(self, *_arguments) -> None:
            pass

    return Handler


def serve(controller: Controller) -> ThreadingHTTPServer:
    """Answer on a free port of 127.0.0.1 until shutdown() is called."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(controller))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
