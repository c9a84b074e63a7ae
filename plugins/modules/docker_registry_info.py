#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_registry_info
short_description: Ask whether an image can be pulled, without pulling it
version_added: 0.3.0
description:
  - Has Docker Engine ask the image's registry, or the mirror that the engine is set to, with the engine's own proxies, certificates and
    insecure registries.
  - Needs no Python library. Credentials go to the engine over its socket, and are kept nowhere.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  image:
    description: The image by name and tag, or digest.
    type: str
  images:
    description: Several images in place of O(image).
    type: list
    elements: str
  registry:
    description: With O(images), the only registry that is told O(username) and O(password), as RV(registry) has it.
    type: str
    default: ""
  username:
    description: The user name at the registry; empty where it asks for none.
    type: str
    default: ""
  password:
    description: The password of O(username).
    type: str
    default: ""
  timeout:
    description: Seconds that the answer may take.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Ask for the image
  ascend.gpustack.docker_registry_info:
    image: haproxy:2.6
  register: registry

- name: Refuse an image that the registry does not have
  ansible.builtin.assert:
    that: registry.available
    fail_msg: "{{ registry.error }}"
"""

RETURN = r"""
available:
  description: Whether the image can be pulled.
  returned: success, with O(image)
  type: bool
architectures:
  description: The processors that it is made for; none where the registry does not say.
  returned: success, with O(image)
  type: list
  elements: str
  sample: [amd64, arm64]
registry:
  description: The registry's name, empty for Docker Hub.
  returned: success, with O(image)
  type: str
  sample: registry.example.com:5000
error:
  description: Why it can't be pulled, as Docker Engine says it; null where it can.
  returned: success, with O(image)
  type: str
kind:
  description: What kind of error that is; V(credentials), V(missing), V(rate), V(network) or V(engine), which is no answer in time.
  returned: success, with O(image)
  type: str
images:
  description: Each of O(images) by its name, with what is returned of O(image).
  returned: success, with O(images)
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import api as docker_api
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import images as docker_images


def gather(parameters: dict[str, Any], ask: docker_api.Api) -> dict[str, Any]:
    """Of one image, or of several by their names. One registry's credentials are shown to no other."""
    if parameters.get("images") is None:
        return _asked(parameters["image"], parameters, ask)
    nobody = {"username": "", "password": ""}
    own = {image: docker_images.registry(image) == parameters["registry"] for image in parameters["images"]}
    return {"images": {image: _asked(image, parameters if own[image] else nobody, ask) for image in parameters["images"]}}


def _asked(image: str, parameters: dict[str, Any], ask: docker_api.Api) -> dict[str, Any]:
    found = {"available": True, "architectures": [], "registry": docker_images.registry(image), "error": None, "kind": None}
    headers = docker_images.credentials(image, parameters["username"], parameters["password"])
    try:
        return {**found, "architectures": docker_images.ask_registry(ask, image, headers)}
    except docker_api.ApiError as error:
        return {**found, "available": False, "error": str(error), "kind": docker_images.kind_of(error)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str"},
            "images": {"type": "list", "elements": "str"},
            "registry": {"type": "str", "default": ""},
            "username": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "int", "default": 20},
        },
        required_one_of=[("image", "images")],
        mutually_exclusive=[("image", "images")],
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **gather(module.params, docker_api.api(module.params["timeout"])))


if __name__ == "__main__":
    main()
