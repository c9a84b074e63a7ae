"""Makes `ansible_collections.ascend.gpustack` importable from the checkout, and generated tests independent of the machine's speed."""

from __future__ import annotations

import pathlib
import sys

from hypothesis import HealthCheck, settings

# No test depends on how fast, or how busy, the machine is: the first text of a process takes seconds on a busy one, since Hypothesis reads
# the Unicode tables then.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.load_profile("any machine")

COLLECTIONS = pathlib.Path(__file__).resolve().parents[2] / "collections"

try:
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
except ImportError:
    # With the parts of Ansible alone that hosts get with a module (tests/controller)
    sys.path.insert(0, str(COLLECTIONS))
else:
    # As Ansible itself does
    _AnsibleCollectionFinder(paths=[str(COLLECTIONS)])._install()
