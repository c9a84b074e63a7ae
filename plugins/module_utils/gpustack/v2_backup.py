# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the server's PostgreSQL gets into a backup and out of it: as the image's own start talks to it (pack/rootfs, s6-rc.d/postgres/run),
as the user postgres, at its socket, at the port that prerun (gpustack/cmd/prerun.py) wrote down. setpriv is a part of util-linux."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup_description import Backup

_TOOLS = (
    "set -e; cd /; PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1); "
    'as="setpriv --reuid postgres --regid postgres --clear-groups"; '
)
_RUNNING = _TOOLS + '. "${GPUSTACK_POSTGRES_CONFIG:-/run/gpustack/postgresql/.env}"; exec $as '
_LISTED = ", ".join(f"'{kind}', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM {kind})" for kind in ("models", "workers"))
# The database comes back with the encoding that it had. The image's start makes what is not there, and finds all of it.
_LOAD = """\
data=/var/lib/gpustack/postgresql/data; pass=/var/lib/gpustack/postgres_root_pass; export PGHOST=/tmp PGDATABASE=postgres
chmod a+x /var/lib/gpustack; umask 022; mkdir -p "${data%/*}"; install -d -o postgres -g postgres -m 0700 "$data"; umask 077
[ -s "$pass" ] || head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n' >"$pass"
$as initdb -D "$data" --auth-local=peer --auth-host=scram-sha-256 >/dev/null
control() { $as pg_ctl -D "$data" -w -l "$data/start.log" "$@" >/dev/null; }
control start -o "-c listen_addresses= -c unix_socket_directories=/tmp" || { tail -n 1 "$data/start.log" >&2; exit 1; }
printf "CREATE USER root WITH PASSWORD '%s';" "$(cat "$pass")" | $as psql -q -v ON_ERROR_STOP=1
$as pg_restore --create --exit-on-error -d postgres </backup/database
control stop -m fast; rm -f "$data/start.log"
"""
BACKUP = Backup(
    dump=f'{_RUNNING} pg_dump -p "$EMBEDDED_DATABASE_PORT" --format=custom gpustack',
    names=f'{_RUNNING} psql -p "$EMBEDDED_DATABASE_PORT" -d gpustack -qAtc "SELECT json_build_object({_LISTED})"',
    load=_TOOLS + _LOAD,
    files=(
        *("token", "jwt_secret_key", "initial_admin_password", "postgres_root_pass", "bootstrap_version", "run/state_migration_done"),
        *("worker_name", "worker_uuid", "worker_token", "external_id", "advertise_address"),
    ),
    identity=("worker_name", "worker_uuid", "worker_token", "external_id", "advertise_address"),
    # What people made in Grafana and what Prometheus measured is no part of GPUStack's own state.
    stays=("benchmarks", "bin", "cache", "chat_templates", "grafana", "log", "prometheus"),
)
