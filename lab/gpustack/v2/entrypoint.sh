#!/bin/bash
# In place of the official image's entry point and services: its order (check, PostgreSQL, migration, GPUStack), its
# files and its environment, around the real GPUStack and PostgreSQL. The gateway is gateway.py; Prometheus and Grafana
# are not there.
set -eu

# s6, which the official image becomes, ends at once where it isn't the first process.
if [ $$ -ne 1 ]; then
    echo 's6-overlay-suexec: fatal: can only run as pid 1' >&2
    exit 100
fi

run=/run/gpustack
services=/etc/s6-overlay/s6-rc.d/user/contents.d
postgres=/usr/lib/postgresql/15/bin
configuration=/etc/postgresql/main
as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups)
export GPUSTACK_GATEWAY_CONFIG=$run/gateway/.env
export GPUSTACK_POSTGRES_CONFIG=$run/postgresql/.env
export GPUSTACK_OBSERVABILITY_CONFIG=$run/observability/.env
watched=()

sql() {
    "${as_postgres[@]}" "$postgres/psql" -p "$EMBEDDED_DATABASE_PORT" -qtA --command "$1"
}

own_folder() { # path, mode
    mkdir -p "$1"
    chown postgres:postgres "$1"
    chmod "$2" "$1"
}

start_postgres() {
    # shellcheck source=/dev/null
    . "$GPUSTACK_POSTGRES_CONFIG"
    password=$DATA_DIR/postgres_root_pass
    own_folder "$POSTGRES_DATA_DIR" 0700
    own_folder "$LOG_DIR/postgresql" 0755
    if [ ! -f "$password" ]; then
        (umask 077 && head -c 512 /dev/urandom | tr -dc A-Za-z0-9 | head -c 16 >"$password")
        echo "[INFO] Postgres root password written to $password."
    fi
    if [ ! -s "$POSTGRES_DATA_DIR/PG_VERSION" ]; then
        echo '[INFO] Initializing Postgres database.'
        "${as_postgres[@]}" "$postgres/initdb" -D "$POSTGRES_DATA_DIR" --locale=C.UTF-8 >/dev/null
    fi
    echo '[INFO] Starting Postgres.'
    rm -f "$POSTGRES_DATA_DIR/postmaster.pid"
    "${as_postgres[@]}" "$postgres/postgres" -D "$POSTGRES_DATA_DIR" -p "$EMBEDDED_DATABASE_PORT" \
        -c config_file="$configuration/postgresql.conf" -c hba_file="$configuration/pg_hba.conf" \
        -c log_directory="$LOG_DIR/postgresql" &
    postgres_pid=$!
    watched+=("$postgres_pid")
    until "${as_postgres[@]}" "$postgres/pg_isready" -q -p "$EMBEDDED_DATABASE_PORT"; do
        kill -0 "$postgres_pid"
        sleep 0.1
    done
    [ -n "$(sql "SELECT 1 FROM pg_roles WHERE rolname = 'root'")" ] || sql "CREATE USER root WITH PASSWORD '$(cat "$password")'"
    [ -n "$(sql "SELECT 1 FROM pg_database WHERE datname = 'gpustack'")" ] || sql 'CREATE DATABASE gpustack OWNER root'
}

migrate() {
    if [ ! -f "$STATE_MIGRATION_DONE_FILE" ]; then
        gpustack migrate --migration-data-dir "$DATA_DIR" --database-url "postgresql://root@localhost:$EMBEDDED_DATABASE_PORT/gpustack"
        mkdir -p "${STATE_MIGRATION_DONE_FILE%/*}"
        touch "$STATE_MIGRATION_DONE_FILE"
        echo '[INFO] Migration completed successfully.'
    fi
}

start_gateway() {
    # shellcheck source=/dev/null
    . "$GPUSTACK_GATEWAY_CONFIG"
    # GPUStack then looks for no gateway, and routes what is asked of models by itself.
    export GPUSTACK_GATEWAY_MODE=disabled
    /opt/venvs/gpustack/bin/python /usr/local/lib/gpustack/gateway.py "$GATEWAY_HTTP_PORT" "$GPUSTACK_API_PORT" "$GATEWAY_HTTPS_PORT" "$@" &
    watched+=("$!")
}

end() { # process, signal: with the patience that s6 is told to have there
    kill "-$2" "$1" 2>/dev/null || return 0
    for _ in $(seq 30); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || :
}

finish() { # status
    trap '' TERM INT
    [ -z "${gpustack_pid:-}" ] || end "$gpustack_pid" TERM
    [ -z "${postgres_pid:-}" ] || end "$postgres_pid" INT
    exit "$1"
}

if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then update-ca-certificates; fi
mkdir -p "$services" /var/run/postgresql
chown postgres:postgres /var/run/postgresql
rm -f "$services"/* "$GPUSTACK_GATEWAY_CONFIG"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt 65535 ]; then
    ulimit -n 65535 2>/dev/null || echo "[WARN] Failed to set nofile ulimit to 65535. Current value: $(ulimit -n)."
fi
trap 'finish 0' TERM INT

# Words with blanks fall apart in the official image too.
# shellcheck disable=SC2048,SC2086
set -- $*
echo '[INFO] Starting gpustack prerun check.'
gpustack prerun "$@" &
wait "$!"
[ ! -e "$services/postgres" ] || start_postgres
[ ! -e "$services/gpustack-migration" ] || migrate
[ ! -e "$services/apiserver" ] || start_gateway "$@"
echo '[INFO] Starting gpustack.'
gpustack start "$@" &
gpustack_pid=$!
watched+=("$gpustack_pid")

# Whichever ends first ends the container with its status; PostgreSQL ends last.
status=0
wait -n "${watched[@]}" || status=$?
finish "$status"
