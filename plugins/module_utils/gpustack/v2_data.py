# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node of GPUStack 2 keeps."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Data, Migration
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_backup import BACKUP
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_token import FORGET_TOKEN

DATA = Data(
    directory="/var/lib/gpustack",
    token="token",
    # Of those that this collection makes
    generated_token=r"[0-9a-f]{32}\Z",
    password="initial_admin_password",
    cluster=("token", "postgresql"),
    # gpustack/server/server.py, _should_create_default_cluster and _migrate_legacy_token
    given_token=True,
    own=(
        *("advertise_address", "benchmarks", "bin", "bootstrap_version", "cache", "chat_templates", "external_id", "grafana", "higress"),
        *("initial_admin_password", "jwt_secret_key", "log", "postgres_root_pass", "postgresql", "prometheus", "run", "token"),
        *("worker_name", "worker_token", "worker_uuid"),
    ),
    # The last by the setting of it, for models' containers (Mirror.in_cache)
    own_cache=("huggingface", "model_scope", "vox-box", "gguf-parser", "repo-skeleton", "benchmarks"),
    backup=BACKUP,
    downloads=("huggingface", "model_scope"),
    # gpustack/routes/clusters.py; a server ends at once where another cluster of its own has that token.
    page_token="gpustack_",
    forget_token=FORGET_TOKEN,
    port_setting=("database_port", "5432"),
    # gpustack/cmd/prerun.py: where there is a database.db and no run/state_migration_done; it works on copies.
    migration=Migration(series=(0, 7, 1), environment={"GPUSTACK_DATA_MIGRATION": "true"}),
)
