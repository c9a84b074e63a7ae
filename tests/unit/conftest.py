"""Makes `ansible_collections.ascend.gpustack` importable from the checkout, as Ansible itself does."""

from __future__ import annotations

import pathlib

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = pathlib.Path(__file__).resolve().parents[2]
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()
