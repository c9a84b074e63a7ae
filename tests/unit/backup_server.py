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
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result

FILES = {"token": "0123456789abcdef", "jwt_secret_key": "key", "worker_name": "atlas1", "worker_uuid": "uuid-1"}
PLACES = (("/tmp/", "tmp/"), ("/var/lib/gpustack", "data"))
_DOCKER = """\
#!{python}
import json, pathlib, subprocess, sys, time
root, words = pathlib.Path({root!r}), sys.argv[1:]
known = json.loads((root / "containers.json").read_text())
name = words[2] if words[0] == "container" else words[1]
(root / "calls").open("a").write(" ".join(words[:2]) + chr(10))
if (root / "hangs").exists():
    time.sleep(60)
if name not in known:
    sys.exit("Error response from daemon: No such container: " + name)
if words[0] == "container":
    print(json.dumps([known[name]]))
elif words[0] == "exec":
    script = words[4]
    for inside, here in {places!r}:
        script = script.replace(inside, str(root) + "/" + here)
    sys.exit(subprocess.run(["bash", "-c", script], env={{"PATH": str(root / "bin") + ":/usr/bin:/bin"}}).returncode)
"""


class Server:
    """root holds `data`, `etc`, `backups` and `copies`; containers are what Docker is to know."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        for name in ("bin", "data", "etc", "tmp"):
            (root / name).mkdir()
        for name, text in (
            ("docker", _DOCKER.format(python=sys.executable, root=str(root), places=PLACES)),
            ("gpustack", f"#!{sys.executable}\n"),
        ):
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
        live = sqlite3.connect(self.data / "database.db")
        with contextlib.closing(live), live:
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

    def docker(self, argv: list[str], _limit: float = 0) -> Result:
        """Docker as a restore asks it; what it is to run, it runs right here."""
        words, known = argv[1:], self.containers
        if words[:2] == ["container", "inspect"]:
            found = known.get(words[2])
            return Result(0, json.dumps([found])) if found else Result(1, "[]", f"Error: No such container: {words[2]}")
        if words[0] == "run":
            return self._run(words)
        if words[0] == "rename":
            known[words[2]] = known.pop(words[1])
        elif words[0] == "rm":
            known.pop(words[-1])
        else:
            known[words[-1]]["State"] = self.container(running=words[0] == "start")["State"]
        self.containers = known
        return Result(0)

    def _run(self, words: list[str]) -> Result:
        if (self.root / "no-load").exists():
            return Result(1, "", "pg_restore: error: could not execute query")
        backup = next(word.split(":")[0] for word in words if word.endswith(":/backup:ro"))
        script = words[-1].replace("/backup/", f"{backup}/").replace("/var/lib/gpustack", str(self.data))
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def state(self) -> dict[str, Any]:
        """All that a restore may touch, to compare; of containers whether they run."""
        trees = {str(path.relative_to(self.root)): path.read_bytes() for path in _files(self.data, self.root / "etc")}
        return {**trees, "containers": {name: each["State"]["Running"] for name, each in self.containers.items()}}


def _files(*folders: pathlib.Path) -> list[pathlib.Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


BACKUP = v0_7.BACKUP
