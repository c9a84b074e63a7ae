# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of GPUStack 0.7, by the names that its command line (gpustack start --help) and its configuration file have for them.

A setting that is none ends GPUStack with a "Config error" (gpustack/config/config.py: pydantic forbids what it does not know).
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SWITCHES = _names("""
    debug enable_ray disable_worker force_auth_localhost disable_update_check disable_openapi_docs disable_metrics
    disable_rpc_servers enable_hf_transfer enable_hf_xet enable_cors allow_credentials
""")


REPEATABLE = _names("ray_args rpc_server_args allow_origins allow_methods allow_headers")


VALUES = _names("""
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
""")


# Known to the configuration file alone
FILE_ONLY = _names("jwt_secret_key external_auth_type openid_configuration resources")
