# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack 2: known by its versions, and not deployed by this collection yet.

Once it is, its `GENERATION` stands here, and generation.py counts that among those that are deployed. Until then refusals need to know its
series alone.
"""

from __future__ import annotations

SERIES = (2,)
