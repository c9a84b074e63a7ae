"""A report that somebody sends tells which release it comes from, in a clone and where the collection was installed."""

from __future__ import annotations

import yaml
from ansible_collections.ascend.gpustack.plugins.plugin_utils import collection
from shared import ROOT


def test_version_that_reports_name_is_that_of_the_checkout_or_of_what_was_installed(tmp_path):
    assert collection.version() == yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert collection.version(tmp_path / "copied") == "unknown"
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "9.8.7"}}')
    assert collection.version(tmp_path) == "9.8.7"
