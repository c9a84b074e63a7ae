"""What a node has for its registry, for TLS and for its driver: told to GPUStack, mounted, and lying on the host for root alone."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.directory import OWN
from ansible_collections.ascend.gpustack.plugins.plugin_utils import additions, rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = "/etc/gpustack/managed"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
KEY = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----"
NO_TLS = {"certificate": "", "key": "", "ca": ""}
TLS = {"certificate": f"{CERTIFICATE}\n\n", "key": KEY, "ca": CERTIFICATE}
HUB = {"name": "", "username": "", "password": ""}
MIRROR = {"name": "r.example.com:5000", "username": "puller", "password": "hunter2"}
NODE = {"settings": {}, "env": {}, "volumes": [], "registry": HUB, "tls": NO_TLS, "driver": "25.2.0", "works": True, "role": "worker"}


def added(version: str, **more) -> dict:
    """What is added to a node's settings, environment and mounts, and the files that have something in them."""
    generation, whole = generations.of(version), {**NODE, **more}
    found = additions.completed(generation, whole)
    files = {each["path"]: each["content"] for each in additions.files(generation, whole) if each["content"]}
    return {**{key: found[key] for key in ("settings", "env", "volumes")}, "files": files}


def restarting(version: str, **more) -> dict[str, bool]:
    return {each["path"]: each["restart"] for each in additions.files(generations.of(version), {**NODE, **more})}


@pytest.mark.parametrize("role", ["server", "worker"])
def test_a_node_of_0_7_without_these_variables_is_as_before(role):
    assert added("0.7.1", role=role, registry=MIRROR) == {"settings": {}, "env": {}, "volumes": [], "files": {}}


def test_gpustack_is_told_its_registry_and_asks_none_on_the_internet_which_answers():
    assert added("2.3.0")["settings"] == {"system_default_container_registry": "docker.io"}
    mirrored = added("2.3.0", registry=MIRROR)
    assert mirrored["settings"] == {"system_default_container_registry": "r.example.com:5000"}
    prefix = "GPUSTACK_RUNTIME_DEPLOY_DEFAULT_CONTAINER_REGISTRY"
    assert mirrored["env"] == {f"{prefix}_USERNAME": "puller", f"{prefix}_PASSWORD": "hunter2"}
    # A server that does not work runs no model, and needs no password.
    assert added("2.3.0", registry=MIRROR, role="server", works=False)["env"] == {}
    assert added("2.3.0", settings={"system_default_container_registry": "own"})["settings"] == {"system_default_container_registry": "own"}


def test_a_worker_tells_gpustack_which_cann_its_driver_carries():
    found = added("2.3.0")
    assert found["volumes"] == [f"{PLACE}/ascend-toolkit:/usr/local/Ascend/ascend-toolkit:ro"]
    assert found["files"] == {f"{PLACE}/ascend-toolkit/latest/runtime/version.info": "Version=9.1\n"}
    # It is read each time, by a worker whose container stays, whatever the driver.
    assert restarting("2.3.0")[f"{PLACE}/ascend-toolkit/latest/runtime/version.info"] is False
    unknown = added("2.3.0", driver="")
    assert (unknown["volumes"], unknown["files"]) == (found["volumes"], {})
    # A server that does not work has no NPU; a toolkit that a user mounts is his.
    assert added("2.3.0", role="server", works=False)["volumes"] == []
    own = ["/usr/local/Ascend/ascend-toolkit:/usr/local/Ascend/ascend-toolkit:ro"]
    assert added("2.3.0", volumes=own)["volumes"] == own


@pytest.mark.parametrize("version", ["0.7.1", "2.3.0"])
def test_a_server_serves_its_certificate_and_a_worker_has_no_key(version):
    server = added(version, role="server", works=False, tls=TLS)
    assert server["files"] == {
        f"{PLACE}/tls/server.crt": f"{CERTIFICATE}\n",
        f"{PLACE}/tls/server.key": f"{KEY}\n",
        f"{PLACE}/tls/ca.crt": f"{CERTIFICATE}\n",
    }
    assert server["volumes"] == [f"{PLACE}/tls:{PLACE}/tls:ro"]
    handed = {"ssl_ca_certfile": f"{PLACE}/tls/ca.crt"} if version == "2.3.0" else {}
    known = {"ssl_certfile": f"{PLACE}/tls/server.crt", "ssl_keyfile": f"{PLACE}/tls/server.key", **handed}
    assert {key: value for key, value in server["settings"].items() if key.startswith("ssl")} == known
    worker = added(version, tls=TLS, driver="")
    assert worker["files"] == {f"{PLACE}/trust/ca.crt": f"{CERTIFICATE}\n"}
    assert not any("tls" in volume or "key" in volume for volume in worker["volumes"])


def test_workers_trust_the_authority_where_their_gpustack_looks():
    old, new = added("0.7.1", tls=TLS), added("2.3.0", tls=TLS)
    assert (old["volumes"], old["env"]) == ([f"{PLACE}/trust:{PLACE}/trust:ro"], {"SSL_CERT_FILE": f"{PLACE}/trust/ca.crt"})
    assert f"{PLACE}/trust/ca.crt:/usr/local/share/ca-certificates/gpustack.crt:ro" in new["volumes"] and new["env"] == {}
    # One that is signed by a public authority needs none of it.
    assert added("0.7.1", tls={**TLS, "ca": ""}) == {"settings": {}, "env": {}, "volumes": [], "files": {}}


@pytest.mark.parametrize(("version", "of_authorities"), [("0.7.1", False), ("2.3.0", True)])
def test_a_renewed_certificate_restarts_the_server_alone(version, of_authorities):
    files = restarting(version)
    assert files[f"{PLACE}/tls/server.crt"] and files[f"{PLACE}/tls/server.key"] and not files[f"{PLACE}/tls/ca.crt"]
    # Of a worker there is only the authority, which outlasts certificates, and which 0.7 reads for each connection.
    assert files[f"{PLACE}/trust/ca.crt"] is of_authorities


def test_files_of_the_collection_alone_go_with_a_reset():
    assert "managed" in OWN["config"] and all(path.startswith(f"{PLACE}/") for path in restarting("2.3.0"))


def judged(kind: str, text: str) -> bool:
    return not list(rules.judge(text, {"is": kind, "dash": True, "empty": True, "secret": True}))


def test_pem_is_told_from_what_is_none_and_never_shown():
    for text in (CERTIFICATE, f"{CERTIFICATE}\n{CERTIFICATE}\n", f"Subject: CN=x\n{CERTIFICATE}\n", CERTIFICATE.replace("\n", "\r\n"), ""):
        assert judged("certificates", text)
    for text in (KEY, f"{CERTIFICATE}\n{KEY}", "/etc/ssl/x.crt", CERTIFICATE[:40], CERTIFICATE.replace("\n", " ")):
        assert not judged("certificates", text)
    for text in (KEY, KEY.replace("PRIVATE", "RSA PRIVATE"), KEY.replace("PRIVATE", "EC PRIVATE"), ""):
        assert judged("private_key", text)
    for text in (CERTIFICATE, f"{KEY}\n{KEY}", KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"), "hunter2"):
        assert not judged("private_key", text)
    known = yaml.safe_load((ROOT / "roles/gpustack/meta/rules.yml").read_text())
    for name in ("gpustack_tls_certificate", "gpustack_tls_key", "gpustack_tls_ca"):
        (wrong,) = rules.judge(KEY * 2, known[name])
        assert wrong.found == "a text that is not shown"
