# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack 2.2.3 and 2.3.

The settings are by the names that its command line (gpustack/cmd/start.py) and its configuration file (gpustack/config/config.py) have for
them. It takes a setting from its command line, else from the environment, else from its configuration file, and what it does not know
without a word. Models run in containers of their own, which the worker makes through Docker's socket with what its own container has:
gpustack_runtime/deployer/docker.py. The image is that of pack/Dockerfile, whose entry point (pack/entrypoint.sh) becomes s6, process 1.
"""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import (
    UNREACHABLE,
    WAITS_FOR_STORE,
    Api,
    CommandLine,
    Generation,
    Images,
    Mirror,
    Node,
    Port,
    Ports,
    Sign,
    State,
    Trust,
    Work,
    names,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_data import DATA
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_models import MODELS
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_runners import RUNNERS

COMMAND_LINE = CommandLine(
    switches=names("""
        debug insecure_tls disable_worker enable_worker disable_metrics force_auth_localhost disable_update_check
        disable_openapi_docs disable_builtin_observability enable_cors allow_credentials oidc_skip_userinfo oidc_use_userinfo
        external_auth_default_inactive external_auth_insecure_skip_tls_verify disable_worker_metrics
        enable_hf_transfer enable_hf_xet
    """),
    repeatable=names("allow_origins allow_methods allow_headers trusted_hosts"),
    values=names("""
        config_file data_dir cache_dir bin_dir log_dir benchmark_dir pipx_path token huggingface_token system_reserved
        advertise_address port tls_port api_port proxy_port database_port metrics_port database_url redis_url
        system_default_container_registry image_name_override image_repo benchmark_image_repo
        gateway_mode gateway_kubeconfig gateway_namespace gateway_concurrency gateway_plugin_server_url gateway_ingress_class
        service_discovery_name namespace bootstrap_password ssl_keyfile ssl_certfile ssl_ca_certfile
        update_check_url ota_server_url model_catalog_file server_external_url shuihua_api_base_url tools_download_base_url
        builtin_prometheus_port builtin_grafana_port prometheus_url grafana_url grafana_worker_dashboard_uid grafana_model_dashboard_uid
        external_auth_provider_name external_auth_name external_auth_full_name external_auth_avatar_url
        external_auth_post_logout_redirect_key
        oidc_issuer oidc_client_id oidc_client_secret oidc_redirect_uri
        saml_idp_server_url saml_idp_logout_url saml_idp_entity_id saml_idp_x509_cert saml_sp_entity_id saml_sp_acs_url
        saml_sp_slo_url saml_sp_x509_cert saml_sp_private_key saml_sp_attribute_prefix saml_security
        cas_server_url cas_callback_url cas_validate_endpoint cas_username_attribute cas_full_name_attribute cas_avatar_attribute
        server_url worker_ip worker_ifname kv_transfer_ifname worker_name worker_port worker_metrics_port service_port_range
        ray_port_range benchmark_max_duration_seconds proxy_mode
    """),
    file_only=names("""
        jwt_secret_key external_auth_type external_auth_groups external_auth_group_sync openid_configuration resources gateway_plugin
        operator_image server_id grafana_pd_dashboard_uid grafana_cache_service_dashboard_uid
    """),
    short={"-d": "debug", "-t": "token", "-s": "server_url"},
    environment={"HF_TOKEN": "huggingface_token", "HF_HUB_ENABLE_HF_TRANSFER": "enable_hf_transfer", "POD_NAMESPACE": "namespace"},
    numbers=names("gateway_concurrency benchmark_max_duration_seconds"),
    own={"tls_port": "gpustack_port", "enable_worker": "the inventory's groups", "disable_worker": "the inventory's groups"},
    idle={
        **dict.fromkeys(("host", "force_auth_localhost", "enable_hf_transfer", "enable_hf_xet", "enable_ray", "ray_args"), ""),
        **dict.fromkeys(("rpc_server_port_range", "rpc_server_args", "disable_rpc_servers", "ollama_library_base_url"), ""),
        **dict.fromkeys(("ray_port", "ray_client_server_port", "ray_dashboard_port", "ray_node_manager_port"), "ray_port_range"),
        **dict.fromkeys(("ray_object_manager_port", "ray_runtime_env_agent_port", "ray_worker_port_range"), "ray_port_range"),
        **dict.fromkeys(("ray_dashboard_agent_grpc_port", "ray_dashboard_agent_listen_port"), "ray_port_range"),
        "ray_metrics_export_port": "ray_port_range",
    },
    # In 0.7 they were the worker's.
    of_server={"metrics_port": "worker_metrics_port", "disable_metrics": "disable_worker_metrics"},
    since=dict.fromkeys(
        (
            *("external_auth_provider_name", "insecure_tls", "kv_transfer_ifname", "ota_server_url", "prometheus_url", "redis_url"),
            *("shuihua_api_base_url", "ssl_ca_certfile", "gateway_plugin", "grafana_pd_dashboard_uid"),
            "grafana_cache_service_dashboard_uid",
        ),
        (2, 3),
    ),
    # gpustack/worker/collector.py
    usual={"advertise_address": "worker_ip"},
)

# Those of the image's services are gpustack/utils/s6_services.py's, and which of them answer at every address the image's scripts say:
# pack/rootfs/etc/s6-overlay/s6-rc.d/*/run.
PORTS = Ports(
    worker={"worker_port": "10150", "worker_metrics_port": "10151"},
    worker_at_start=("worker_port", "worker_metrics_port"),
    own_worker=False,
    server=(
        Port("api_port", "30080"),
        Port("proxy_port", "30079"),
        Port("metrics_port", "10161", ("disable_metrics",), open=True),
        Port("database_port", "5432", ("database_url",)),
        Port("builtin_prometheus_port", "19090", ("disable_builtin_observability", "grafana_url"), open=True),
        Port("builtin_grafana_port", "13000", ("disable_builtin_observability", "grafana_url")),
        # Of the gateway: its API server, pilot, controller and Envoy
        *(Port("", port) for port in ("18443", "9876", "15010", "15012", "8888", "15051", "15000")),
        *(Port("", port, open=True) for port in ("15020", "15021", "15090")),
    ),
    shared={"service_port_range": "40000-40063", "ray_port_range": "41000-41999"},
    service="service_port_range",
    # By default the server reaches a model through its worker.
    direct=("proxy_mode", "direct"),
    worker_open=("worker_metrics_port", "service_port_range"),
)

_START = 'exec /usr/bin/entrypoint.sh "$@"'
# What the image leaves open on the network of the host, which models' containers share: PostgreSQL, which listens at every address and asks
# nobody at 127.0.0.1 for the password that it has (pack/Dockerfile, s6-rc.d/postgres/run), and Grafana, which takes anybody for a viewer.
# GPUStack's own database drivers, asyncpg and psycopg, take the password from PGPASSFILE.
_CLOSED = """\
export GF_SERVER_HTTP_ADDR=127.0.0.1 PGPASSFILE=/run/gpustack-pgpass; \
test ! -d /etc/postgresql/main || ( umask 077; cd /var/lib/gpustack && \
{ test -s postgres_root_pass || head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n' > postgres_root_pass; } && \
password=$(cat postgres_root_pass) && printf '%s:*:*:root:%s\\n' 127.0.0.1 "$password" localhost "$password" > /run/gpustack-pgpass && \
printf '%s\\n' 'local all postgres peer' 'host all root 127.0.0.1/32 scram-sha-256' 'host all root ::1/128 scram-sha-256' \
> /etc/postgresql/main/pg_hba.conf && \
sed -i "s/^listen_addresses *=.*/listen_addresses='127.0.0.1'/" /etc/postgresql/main/postgresql.conf ) && \
"""

NODE = Node(
    init=(),
    # s6 has to be process 1.
    start=_START,
    server_start=_CLOSED + _START,
    network="host",
    # Models have a namespace of their own.
    ipc="private",
    # Beyond 50 workers GPUStack looks no longer whether they answer, unless it is told to.
    server_env={"GPUSTACK_WORKER_UNREACHABLE_CHECK_MODE": "enabled"},
    settings={},
    # Neither is asked for news on the internet; nothing listens at that address.
    server_settings={"disable_update_check": True, "ota_server_url": "http://127.0.0.1:9"},
    server_worker_settings={"enable_worker": True},
    server_only_settings={"disable_worker": True},
    health="/readyz",
    work=Work(
        privileged=True,
        volumes=("/var/run/docker.sock:/var/run/docker.sock",),
        # As GPUStack's page has it for Ascend's own runtime, which mounts the rest where this variable is set
        runtimes={"ascend": ("/usr/local/Ascend/driver",)},
        visible="ASCEND_VISIBLE_DEVICES",
        mirror=Mirror(
            name="GPUSTACK_RUNTIME_DEPLOY_MIRRORED_NAME",
            kept_volumes="GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT_IGNORE_VOLUMES",
            kept_environment="GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT_IGNORE_ENVIRONMENTS",
            label="runtime.gpustack.ai/workload",
            claim="ASCEND_RT_VISIBLE_DEVICES",
            # What begins with GPUSTACK_ is not handed on.
            mark="ASCEND_GPUSTACK_DATA",
            kept=(
                *("/var/run/cdi", "/usr/local/PPU_SDK", "/opt/maca", "/usr/local/corex", "/opt/dtk", "/usr/local/neuware"),
                *("/usr/local/Ascend/ascend-toolkit", "/opt/rocm"),
            ),
            secret_files=("ssl_keyfile",),
            in_cache={"benchmark_dir": "benchmarks"},
        ),
        # gpustack/config/config.py, get_gpu_devices. A model's container has every NPU of its host, and is told which to use by their
        # places among those that GPUStack sees; so it has to see them all, and to be told which it may have.
        devices="resources",
        vendor="ascend",
        family="Ascend",
    ),
    tls_setting="tls_port",
    plain_port=30081,
)

# The cluster token may not read users. A worker's states are WorkerStateEnum's (gpustack/schemas/workers.py).
API = Api(
    prefix="/v2",
    device_type="cann",
    lists={"models": ("/models", "name")},
    states={
        # A worker that starts is registered long before it listens.
        "unreachable": UNREACHABLE,
        "not_ready": State("See docker logs of its GPUStack container, and whether it reaches the server's port"),
        "maintenance": State("End its maintenance on GPUStack's page or with undrain, or leave it out (--limit)", passes=False),
        # Of workers that GPUStack itself makes in a cloud
        "pending": State("See on GPUStack's page what it waits for"),
        "provisioning": State("See on GPUStack's page what it waits for"),
        "initializing": State("See on GPUStack's page what it waits for"),
        "deleting": State("Let GPUStack delete it, and run this again", passes=False),
        "error": State("See GPUStack's page, and delete it there", passes=False),
    },
    # A worker reports every 30 s, and the server writes that down every 5 s, with its own time. It calls one not_ready after 150 s only,
    # and asks it itself in clusters of at most 50 workers, or where GPUSTACK_WORKER_UNREACHABLE_CHECK_MODE says so.
    silence=60,
    adopts=True,
    # gpustack/routes/workers.py, update_worker; the scheduler takes those that are ready alone.
    rests=True,
    # gpustack/worker/worker_manager.py, register_with_server
    every_request=False,
)

# The first holds the namespaces of a model's containers, the second starts one again that is unwell (gpustack_runtime/envs.py:
# GPUSTACK_RUNTIME_DOCKER_PAUSE_IMAGE and ..._UNHEALTHY_RESTART_IMAGE). Runners are listed by gpustack_runner.
IMAGES = Images(
    worker=("gpustack/runtime:pause", "gpustack/runtime:health"),
    runners="gpustack/runner",
    registry="system_default_container_registry",
    hub="docker.io",
    username="GPUSTACK_RUNTIME_DEPLOY_DEFAULT_CONTAINER_REGISTRY_USERNAME",
    password="GPUSTACK_RUNTIME_DEPLOY_DEFAULT_CONTAINER_REGISTRY_PASSWORD",
)

# The image's own start adds what lies there to what its system trusts (gpustack-prerun.sh), which GPUStack reads once
# (gpustack/ssl_context.py).
TRUST = Trust(
    source="ca.crt",
    target="/usr/local/share/ca-certificates/gpustack.crt",
    environment={},
    live=False,
    setting="ssl_ca_certfile",
)

# What GPUStack, its s6 services and this collection's entry point say
LOG_SIGNS = (
    Sign("token", r"Config error: (?P<detail>Token is required when running as worker)", lasting=True),
    # Asked of another server, which may come back
    Sign("setting", r"Config error: (?P<detail>Failed to get OpenID configuration[^\n]*)"),
    Sign("setting", r"Config error: (?P<detail>[^\n]*)", lasting=True),
    Sign(
        "database",
        r"(?P<detail>database files are incompatible with server|data directory \"[^\"]*\" has (?:wrong ownership|invalid permissions)"
        r"|could not locate a valid checkpoint record|password authentication failed for user \"root\")",
    ),
    Sign("disk", r"(?P<detail>No space left on device|Disk quota exceeded)"),
    Sign("port", r"(?P<detail>Port \d+ required for service '[^']*' is not available)"),
    Sign("token", r"Failed to register worker: (?P<detail>.*Invalid authentication credentials.*)", lasting=True),
    # A worker tries ten times, which takes half a minute, before it ends.
    Sign(
        "trust",
        r"(?:Failed to register worker|Error serving worker APIs): (?P<detail>\[SSL: CERTIFICATE_VERIFY_FAILED\][^\n]*)",
        lasting=True,
    ),
    Sign(
        "server",
        r"(?:Failed to register worker|Server version check failed|Error serving worker APIs): "
        r"(?P<detail>.*(?:connection attempts failed|Connection refused|timed out|No route to host|unreachable|not known).*)",
    ),
    WAITS_FOR_STORE,
)

GENERATION = Generation(
    name="2.3",
    series=((2, 2, 3), (2, 3)),
    candidates=False,
    release="2.3.0",
    repository="gpustack/gpustack",
    # One image for all, without engines
    variants={"": ""},
    # Older ones keep the threads of the image's C library from starting.
    minimum_docker=(20, 10, 10),
    # Its oldest runners hold CANN 8.2, whose release note lists HDK 25.2.0, 25.0.RC1, 24.1.0, 24.1.RC3 and 24.1.RC2.
    minimum_driver="24.1.rc2",
    node=NODE,
    data=DATA,
    ports=PORTS,
    api=API,
    models=MODELS,
    command_line=COMMAND_LINE,
    log_signs=LOG_SIGNS,
    trust=TRUST,
    images=IMAGES,
    runners=RUNNERS,
)
