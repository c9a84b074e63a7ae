# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine that runs Ansible must have."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()
# As in meta/runtime.yml, which ansible-core 2.14 and older do no more than warn of.
MINIMUM_ANSIBLE = "2.15"
# In the collection as it is installed, so that it can be read where there is no internet
PAGE = "docs/en/requirements.md"


@CHECKS.add(ansible="whether ansible-core on the machine that runs Ansible is 2.15 or newer; it can't be left out")
def ansible_problems(version: str) -> list[Finding]:
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) >= tuple(int(part) for part in MINIMUM_ANSIBLE.split(".")):
        return []
    text = f"ansible-core is {version} on the machine that runs Ansible; expected {MINIMUM_ANSIBLE} or newer"
    remedy = f"Take one with pip install in an environment of its own, or an execution environment; {PAGE} of the collection says how."
    return [Finding("ansible", "fail", text, remedy)]
