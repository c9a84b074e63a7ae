# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images with engines that GPUStack 2.2.3 and 2.3 have, and the drivers that these need.

A model without a version gets the newest runner of its engine, unless the worker tells which CANN its host has: then the newest whose CANN
is not newer (gpustack/utils/version.py, pick_runtime_version). A worker reads that anew each time it looks at its NPUs, from a file of a
CANN toolkit that may be mounted (gpustack_runtime/detector/ascend.py, _get_toolkit_version), at a path that the image keeps from models.
"""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Runners

# The newest of each engine for each CANN, of those that are not deprecated: CANN, chips and engines as in gpustack_runner's runner.py.json,
# 0.1.31.post4 and 0.1.27.post4
_OF_2_3 = """
9.2 | 310p 910b 950 a3 | vllm0.30.0
9.1 | 310p 910b 950 a3 | vllm0.30.0
9.0 | 310p 910b a3 | vllm0.20.2
9.0 | 910b a3 | sglang0.5.20
8.5 | 310p 910b a3 | vllm0.18.0 mindie2.3.0
8.5 | 910b a3 | sglang0.5.12.post1
8.3 | 910b a3 | vllm0.12.0 sglang0.5.7
8.3 | 310p 910b a3 | mindie2.2.rc1
8.2 | 910b a3 | vllm0.10.2
8.2 | 310p | vllm0.10.0
8.2 | 310p 910b a3 | mindie2.1.rc2
"""
_OF_2_2_3 = """
9.0 | 310p 910b a3 | vllm0.20.2
9.0 | 910b a3 | sglang0.5.15.post1
8.5 | 310p 910b a3 | vllm0.18.0 mindie2.3.0
8.5 | 910b a3 | sglang0.5.12.post1
8.3 | 910b a3 | vllm0.12.0 sglang0.5.7
8.3 | 310p 910b a3 | mindie2.2.rc1
8.2 | 910b a3 | vllm0.10.2
8.2 | 310p | vllm0.10.0
8.2 | 310p 910b a3 | mindie2.1.rc2
"""


def _tags(table: str) -> tuple[str, ...]:
    rows = (re.split(r" \| ", line) for line in table.strip().splitlines())
    return tuple(f"cann{cann}-{chip}-{engine}" for cann, chips, engines in rows for engine in engines.split() for chip in chips.split())


RUNNERS = Runners(
    newest={(2, 2): _tags(_OF_2_2_3), (2, 3): _tags(_OF_2_3)},
    usual="vllm",
    # Oldest first. CANN 9.2.0's release notes (CANN and Ascend HDK Version Compatibility) list HDK 25.3 for 9.2, 25.2 for 9.1 and 25.0 for
    # 9.0 and 8.5, and nothing older; MindIE 2.1.RC1's list HDK 24.1.RC2 to 25.2.0 for CANN 8.2. Of 8.3, between the two, none was found.
    drivers=(("8.2", "24.1.rc2"), ("8.3", "25.0"), ("8.5", "25.0"), ("9.0", "25.0"), ("9.1", "25.2"), ("9.2", "25.3")),
    toolkit="/usr/local/Ascend/ascend-toolkit",
    stated="latest/runtime/version.info",
)
