# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to say of backups of a generation of GPUStack: data alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backup:
    """How a server's database gets into a backup and out of it, and what of its data directory goes with it. dump and names: a shell's
    words, run in the server's container while GPUStack runs, that write the database to their output, and as JSON the names of the
    `models` and `workers` in it; load: words that make a database of the file /backup/database, run in a container of the server's image
    in which nothing else runs; files: of the data directory, by their paths in it; identity: those of them that are the host's own
    worker's; stays: what neither a backup holds nor a restore touches, since it is large or made anew."""

    dump: str
    names: str
    load: str
    files: tuple[str, ...]
    identity: tuple[str, ...]
    stays: tuple[str, ...]
