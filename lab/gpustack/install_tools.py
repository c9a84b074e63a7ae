"""Puts stand-ins for the programs that a GPUStack worker would download to where it looks for them."""

from __future__ import annotations

import json
import pathlib
import shutil
import sys

import gpustack
from gpustack.worker import tools_manager

FASTFETCH_VERSION = "2.25.0.1"


def main(source: pathlib.Path) -> None:
    target = pathlib.Path(gpustack.__file__).parent / "third_party" / "bin"
    # GPUStack 2 has none.
    llama_box = getattr(tools_manager, "BUILTIN_LLAMA_BOX_VERSION", None)
    # The name of the folder depends on the device found: with NPUs, and in a server without.
    boxes = [f"llama-box-{llama_box}-linux-amd64{device}" for device in ("-npu", "")] if llama_box else []
    files = {f"llama-box/{box}/llama-box": "llama-box" for box in boxes}
    files |= {"gguf-parser/gguf-parser": "gguf-parser", "fastfetch/fastfetch": "fastfetch"}
    for path, name in files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target / path)
        (target / path).chmod(0o755)
    versions = dict.fromkeys(boxes, llama_box)
    versions |= {"gguf-parser": tools_manager.BUILTIN_GGUF_PARSER_VERSION, "fastfetch": FASTFETCH_VERSION}
    (target / "versions.json").write_text(json.dumps(versions))


main(pathlib.Path(sys.argv[1]))
