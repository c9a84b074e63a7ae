# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other roles found in their own preflight, and keep as sentences in facts of the host."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import Play
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()
# By check, in the order of the report
FACTS = (
    ("takeover", "gpustack_takeover_problems"),
    ("worker_name", "gpustack_worker_name_problems"),
    ("exports", "nfs_server_problems"),
    ("nested_mounts", "nfs_server_hidden"),
    ("mount", "nfs_client_problems"),
    ("docker_settings", "docker_swarm_problems"),
    ("services", "vllm_stack_problems"),
    ("variables", "gpustack_setting_problems"),
    ("image", "gpustack_image_problems"),
    ("image", "vllm_stack_image_problems"),
)


@CHECKS.add(
    takeover="what a hand-made container has that the variables don't say",
    exports="what is exported already",
    nested_mounts="whether file systems below the exported directory are there for its clients",
    mount="what stands against the mount",
    image="whether the image is there or can be had, from its archive or its registry, and fits the NPUs",
    docker_settings="whether Docker's settings can take the NPUs (`swarm`)",
    services="whether the services of vLLM can be run (`swarm`)",
)
def _kept(play: Play) -> list[tuple[str, Finding]]:
    return [
        (host, Finding(check, "fail", problem.rstrip(".")))
        for check, fact in FACTS
        for host in play.hosts
        for problem in setting(play.hostvars, host, fact, [])
    ]
