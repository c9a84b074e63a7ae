"""A GPUStack 0.7 server as far as backups see it: a real SQLite database, files, and a `docker` that runs what it is told right here."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import v0_7
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import program
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED

FILES = {"token": "0123456789abcdef", "jwt_secret_key": "key", "worker_name": "atlas1", "worker_uuid": "uuid-1"}
_DOCKER = """\
#!{python}
import json, pathlib, subprocess, sys
root, words = pathlib.Path({root!r}), sys.argv[1:]
file = root / "containers.json"
known = json.loads(file.read_text())
def fail(text):
    sys.exit(text)
def shell(script, backup=""):
    places = (("/tmp/", str(root / "tmp") + "/"), ("/var/lib/gpustack", str(root / "data")), ("/backup/", backup + "/"))
    for inside, here in places:
        script = script.replace(inside, here)
    done = subprocess.run(["bash", "-c", script], env={{"PATH": str(root / "bin") + ":/usr/bin:/bin"}})
    sys.exit(done.returncode)
def need(name):
    return known[name] if name in known else fail(f"Error response from daemon: No such container: {{name}}")
(root / "calls").open("a").write(" ".join(words[:2]) + chr(10))
if (root / "hangs").exists():
    import time
    time.sleep(60)
if words[:2] == ["container", "inspect"]:
    print(json.dumps([need(words[2])]))
elif words[:2] == ["volume", "inspect"]:
    print(json.dumps([{{"Mountpoint": str(root / "data")}}]))
elif words[0] == "exec":
    if not need(words[1])["State"]["Running"]:
        fail("Error response from daemon: container is not running")
    shell(words[4])
elif words[0] == "run":
    backup = next(word.split(":")[0] for word in words if word.endswith(":/backup:ro"))
    if (root / "no-load").exists():
        fail("pg_restore: error: could not execute query")
    shell(words[-1], backup)
elif words[0] == "rename":
    if words[2] in known:
        fail("Conflict")
    known[words[2]] = known.pop(words[1])
elif words[0] == "rm":
    known.pop(words[-1], None)
elif words[0] in ("stop", "start"):
    need(words[-1])["State"].update(Running=words[0] == "start", Status="running" if words[0] == "start" else "exited")
file.write_text(json.dumps(known))
"""


class Server:
    """root holds `data`, `etc`, `backups` and `copies`; containers are what Docker is to know."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        for name in ("bin", "data", "etc", "tmp"):
            (root / name).mkdir()
        for name, text in (("docker", _DOCKER.format(python=sys.executable, root=str(root))), ("gpustack", f"#!{sys.executable}\n")):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self.containers = {"gpustack": self.container()}
        for name, text in FILES.items():
            (self.data / name).write_text(text)
        (self.data / "cache").mkdir()
        (self.data / "cache" / "model").write_text("large")
        (root / "etc/config.yaml").write_text('token: "0123456789abcdef"\n')
        (root / "etc/known.json").write_text('{"models": ["qwen"]}')
        with self.database() as live:
            live.execute("PRAGMA journal_mode=WAL")
            for kind, name in (("models", "qwen"), ("workers", "atlas1")):
                live.execute(f"CREATE TABLE {kind} (id INTEGER PRIMARY KEY, name TEXT)")
                live.execute(f"INSERT INTO {kind} (name) VALUES (?)", (name,))

    def container(self, version: str = "0.7.1", running: bool = True) -> dict[str, Any]:
        return {
            "Config": {"Labels": {"ascend.gpustack.version": version}, "Image": f"gpustack/gpustack:v{version}"},
            "Image": "sha256:1",
            "Mounts": [{"Destination": "/var/lib/gpustack", "Source": str(self.data)}],
            "State": {"Running": running, "Status": "running" if running else "exited"},
        }

    @property
    def data(self) -> pathlib.Path:
        return self.root / "data"

    @property
    def containers(self) -> dict[str, Any]:
        return json.loads((self.root / "containers.json").read_text())

    @containers.setter
    def containers(self, known: dict[str, Any]) -> None:
        (self.root / "containers.json").write_text(json.dumps(known))

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """What is done with it is committed; it is closed at the end, as by a GPUStack that stops."""
        with contextlib.closing(sqlite3.connect(self.data / "database.db")) as live, live:
            yield live

    def models(self) -> list[str]:
        with self.database() as live:
            return [name for (name,) in live.execute("SELECT name FROM models ORDER BY id")]

    def settings(self, **other: Any) -> dict[str, Any]:
        return {
            "name": "atlas1",
            "container": "gpustack",
            "directory": str(self.root / "backups"),
            "keep": 7,
            "copy_directory": "",
            "passphrase": "",
            "config_directory": str(self.root / "etc"),
            "facts": {"address": "198.18.0.11", "port": 8080, "hosts": {"atlas1": "198.18.0.11"}},
            "generations": [
                {
                    "series": [list(series) for series in each.series],
                    "directory": each.data.directory,
                    **{name: getattr(each.data.backup, name) for name in ("dump", "names", "files")},
                }
                for each in DEPLOYED
            ],
            **other,
        }

    def backup(self, kind: str = "", outgoing: bool = False, **other: Any) -> dict[str, Any]:
        return program.backup(self.settings(**other), kind, outgoing)

    def start(self, *words: str, **other: Any) -> subprocess.Popen:
        """The program as a timer runs it."""
        (self.root / "settings.json").write_text(json.dumps(self.settings(**other)))
        argv = [sys.executable, program.__file__, "--settings", str(self.root / "settings.json"), *words]
        return subprocess.Popen(
            argv, env={"PATH": f"{self.root}/bin:/usr/bin:/bin"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def names(self, folder: str = "backups") -> list[str]:
        path = self.root / folder
        return sorted(each.name for each in path.iterdir()) if path.exists() else []

    def state(self) -> dict[str, Any]:
        """All that a restore may touch, to compare; of containers whether they run."""
        trees = {str(path.relative_to(self.root)): path.read_bytes() for path in _files(self.data, self.root / "etc")}
        return {**trees, "containers": {name: each["State"]["Running"] for name, each in self.containers.items()}}


def _files(*folders: pathlib.Path) -> list[pathlib.Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


BACKUP = v0_7.BACKUP
