# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack 0.7.

The settings are by the names that its command line (gpustack/cmd/start.py) and its configuration file have for them; one that is none
ends GPUStack with a "Config error" (gpustack/config/config.py: pydantic forbids what it does not know). It takes a setting from its command
line, else from the environment, else from its configuration file; only without any of these does it make a token of its own. The images
are those of pack/Dockerfile.npu and its sibling for 310P, whose entry point is repeated here.
"""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup_description import Backup
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import (
    UNREACHABLE,
    WAITS_FOR_STORE,
    Api,
    CommandLine,
    Data,
    Generation,
    Node,
    Ports,
    Sign,
    State,
    Trust,
    Work,
    names,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v0_7_models import MODELS

COMMAND_LINE = CommandLine(
    switches=names("""
        debug enable_ray disable_worker force_auth_localhost disable_update_check disable_openapi_docs disable_metrics
        disable_rpc_servers enable_hf_transfer enable_hf_xet enable_cors allow_credentials
    """),
    repeatable=names("ray_args rpc_server_args allow_origins allow_methods allow_headers"),
    values=names("""
        config_file data_dir cache_dir bin_dir log_dir pipx_path token huggingface_token system_reserved
        host port database_url bootstrap_password ssl_keyfile ssl_certfile ollama_library_base_url update_check_url
        model_catalog_file tools_download_base_url
        server_url worker_ip worker_name worker_port metrics_port service_port_range rpc_server_port_range
        ray_port ray_client_server_port ray_dashboard_port ray_node_manager_port ray_object_manager_port
        ray_runtime_env_agent_port ray_dashboard_agent_grpc_port ray_dashboard_agent_listen_port
        ray_metrics_export_port ray_worker_port_range
        external_auth_name external_auth_full_name external_auth_avatar_url
        oidc_issuer oidc_client_id oidc_client_secret oidc_redirect_uri
        saml_idp_server_url saml_idp_entity_id saml_idp_x509_cert saml_sp_entity_id saml_sp_acs_url saml_sp_x509_cert
        saml_sp_private_key saml_sp_attribute_prefix saml_security
    """),
    file_only=names("jwt_secret_key external_auth_type openid_configuration resources"),
    short={"-d": "debug", "-t": "token", "-s": "server_url"},
    environment={"HF_TOKEN": "huggingface_token", "HF_HUB_ENABLE_HF_TRANSFER": "enable_hf_transfer"},
    idle={
        "worker_metrics_port": "metrics_port",
        "disable_worker_metrics": "disable_metrics",
        "ray_port_range": "ray_worker_port_range",
        **dict.fromkeys(("enable_worker", "tls_port", "api_port", "proxy_port", "proxy_mode", "database_port"), ""),
    },
)

PORTS = Ports(
    worker={
        "worker_port": "10150",
        "metrics_port": "10151",
        "service_port_range": "40000-40063",
        "rpc_server_port_range": "40064-40095",
    },
    worker_at_start=("worker_port", "metrics_port"),
    ray_setting="enable_ray",
    ray={
        "ray_node_manager_port": "40098",
        "ray_object_manager_port": "40099",
        "ray_dashboard_agent_grpc_port": "40101",
        "ray_metrics_export_port": "40103",
        "ray_worker_port_range": "40200-40999",
        "ray_dashboard_agent_listen_port": "52365",
    },
    ray_head={"ray_port": "40096", "ray_client_server_port": "40097", "ray_dashboard_port": "8265"},
)

_START = 'source /etc/profile && exec gpustack start "$@"'
NODE = Node(
    init=("tini", "--"),
    start=_START,
    server_start=_START,
    network="host",
    ipc="host",
    server_env={},
    settings={"disable_update_check": True},
    # Without it whoever may ask from the server's own host is an administrator.
    server_settings={"force_auth_localhost": True},
    server_worker_settings={},
    server_only_settings={"disable_worker": True},
    health="/healthz",
    work=Work(),
)

# SQLite's own way to copy what is being written to, with the Python that GPUStack runs on; a copy that is damaged is no backup. Where one
# was cut off, the next one begins by removing what it left.
_PYTHON = 'python=$(head -n 1 "$(command -v gpustack)" 2>/dev/null | sed -n "s/^#! *//p"); exec "${python:-python3}" -c '
_DUMP = """\
import contextlib, os, shutil, sqlite3, sys
copy = "/tmp/gpustack-backup.db"
with contextlib.suppress(FileNotFoundError):
    os.remove(copy)
try:
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL, 0o600))
    live = sqlite3.connect("file:/var/lib/gpustack/database.db?mode=rw", uri=True, timeout=60)
    kept = sqlite3.connect(copy)
    live.backup(kept)
    found = kept.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        sys.exit(f"database.db is damaged: {found.splitlines()[-1]}")
    kept.execute("PRAGMA journal_mode=delete")
    kept.close()
    with open(copy, "rb") as stream:
        shutil.copyfileobj(stream, sys.stdout.buffer)
except (OSError, sqlite3.Error) as error:
    sys.exit(f"database.db: {error}")
finally:
    with contextlib.suppress(FileNotFoundError):
        os.remove(copy)
"""
_NAMES = """\
import json, sqlite3
live = sqlite3.connect("file:/var/lib/gpustack/database.db?mode=rw", uri=True, timeout=60)
print(json.dumps({kind: [name for name, in live.execute(f"SELECT name FROM {kind} ORDER BY name")] for kind in ("models", "workers")}))
"""
BACKUP = Backup(
    dump=f"{_PYTHON}'{_DUMP}'",
    names=f"{_PYTHON}'{_NAMES}'",
    load="umask 022 && cp /backup/database /var/lib/gpustack/database.db",
    files=("token", "jwt_secret_key", "initial_admin_password", "worker_name", "worker_uuid"),
    identity=("worker_name", "worker_uuid"),
    stays=("bin", "cache", "chat_templates", "log", "pipx", "venvs"),
)

DATA = Data(
    directory="/var/lib/gpustack",
    token="token",
    generated_token=r"[0-9a-f]{32}\Z",
    password="initial_admin_password",
    cluster=("token", "database.db"),
    given_token=False,
    own=(
        *("database.db", "database.db-journal", "database.db-shm", "database.db-wal", "token", "initial_admin_password"),
        *("jwt_secret_key", "worker_name", "worker_uuid", "bin", "cache", "chat_templates", "log", "pipx", "venvs"),
    ),
    own_cache=("huggingface", "model_scope", "ollama", "vox-box", "gguf-parser", "repo-skeleton", "rpc_server"),
    backup=BACKUP,
)

API = Api(
    prefix="/v1",
    device_type="npu",
    lists={"models": ("/models", "name"), "users": ("/users", "username")},
    states={
        "unreachable": UNREACHABLE,
        "not_ready": State("See docker logs of its GPUStack container, and compare its clock with the server's (date)"),
    },
    # A worker's last sign of life has the time of the worker's own clock.
    silence=None,
    adopts=False,
    rests=False,
    # gpustack/api/auth.py, authenticate_system_user and worker_auth
    every_request=True,
)

# A worker asks the server through truststore (gpustack/client/generated_http_client.py), which has OpenSSL read its usual places, and what
# this variable names, for each connection. The server's own worker asks at 127.0.0.1, and there whatever answers is trusted.
TRUST = Trust(
    source="", target="/etc/gpustack/managed/trust", environment={"SSL_CERT_FILE": "/etc/gpustack/managed/trust/ca.crt"}, live=True
)

# What GPUStack, SQLite and this collection's entry point say
LOG_SIGNS = (
    Sign("setting", r"Config error: .*\n(?P<detail>\S+\n[^\[\n]*)", lasting=True),
    Sign("database", r"(?P<detail>file is not a database|database disk image is malformed|file is encrypted or is not a database)"),
    Sign("disk", r"(?P<detail>No space left on device|database or disk is full|Disk quota exceeded)"),
    Sign("port", r"(?P<detail>error while attempting to bind on address \('[^']*', \d+[^)]*\): address already in use)"),
    # The worker's own; a server may say so of others.
    Sign(
        "token", r"(?:Error serving worker APIs|Failed to register worker): .*(?P<detail>Invalid authentication credentials)", lasting=True
    ),
    Sign("token", r"(?P<detail>Invalid authentication credentials)"),
    Sign("server", r"Error serving worker APIs: (?P<detail>.*(?:Connection refused|timed out|No route to host|unreachable).*)"),
    WAITS_FOR_STORE,
)

GENERATION = Generation(
    name="0.7",
    series=((0, 7),),
    candidates=True,
    release="0.7.1",
    repository="gpustack/gpustack",
    variants={"-npu": "910b", "-npu-310p": "310p"},
    # Older ones keep the threads of the image's C library from starting.
    minimum_docker=(20, 10, 10),
    # The images hold CANN 8.2.RC1 and MindIE 2.1.RC1, whose release note lists HDK 25.2.0, 25.0.RC1, 24.1.0, 24.1.RC3 and 24.1.RC2.
    minimum_driver="24.1.rc2",
    node=NODE,
    data=DATA,
    ports=PORTS,
    api=API,
    models=MODELS,
    command_line=COMMAND_LINE,
    log_signs=LOG_SIGNS,
    trust=TRUST,
)
