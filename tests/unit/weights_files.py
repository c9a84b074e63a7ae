"""A model's files, where they come from and where they are to lie."""

from __future__ import annotations

import io
import os
import tarfile

from ansible_collections.ascend.gpustack.plugins.module_utils.weights import place

FILES = {"config.json": b'{"a": 1}', "model-1.safetensors": os.urandom(5000), "sub/model-2.safetensors": os.urandom(3000), "empty.txt": b""}


def store_in(tmp_path):
    """A store with its mark."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store/.gpustack-store-id").write_text("id")
    return tmp_path / "store"


def fill(directory, files=None):
    for name, text in (FILES if files is None else files).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return directory


def held(store) -> dict[str, bytes]:
    root = store / "Qwen/Tiny"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != place.STATE}


def packed(path, files=None, top="Tiny/", extra=None) -> str:
    with tarfile.open(path, "w:gz" if str(path).endswith("gz") else "w") as archive:
        for name, text in (FILES if files is None else files).items():
            member = tarfile.TarInfo(f"{top}{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        for member in extra or []:
            archive.addfile(member)
    return str(path)
