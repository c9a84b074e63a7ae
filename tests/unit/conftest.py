"""Makes `ansible_collections.ascend.gpustack` importable from the checkout."""

from __future__ import annotations

import pathlib
import sys

COLLECTIONS = pathlib.Path(__file__).resolve().parents[2] / "collections"

try:
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
except ImportError:
    # With the parts of Ansible alone that hosts get with a module (tests/python39)
    sys.path.insert(0, str(COLLECTIONS))
else:
    # As Ansible itself does
    _AnsibleCollectionFinder(paths=[str(COLLECTIONS)])._install()
