# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster token in the database of GPUStack 2."""

from __future__ import annotations

# The token stands in the record of the cluster that GPUStack makes for itself, and, for whoever presents it, as a key of that cluster's
# account (gpustack/schemas/users.py, default_cluster_principal_name). Without the first GPUStack takes the token that it is given for
# both when it starts, and ends where there is still a key (gpustack/server/server.py, _migrate_legacy_token). One statement, so that it
# happens as a whole or not at all.
FORGET_TOKEN = """\
export PGPASSFILE=/run/gpustack-pgpass
psql=$(command -v psql || ls -d /usr/lib/postgresql/*/bin/psql | tail -n 1)
exec "$psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -U root -d gpustack -c '
DO $do$ DECLARE account integer; BEGIN
  SELECT principals.id INTO account FROM principals JOIN clusters ON clusters.system_principal_id = principals.id
    WHERE principals.name = $name$system/cluster-1$name$ AND clusters.deleted_at IS NULL;
  IF account IS NULL THEN RAISE EXCEPTION USING MESSAGE = $text$the cluster was made on the page$text$; END IF;
  UPDATE clusters SET registration_token = $text$$text$ WHERE system_principal_id = account;
  DELETE FROM api_keys WHERE user_id = account;
END $do$'"""
