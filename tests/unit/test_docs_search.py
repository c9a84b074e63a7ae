"""The search of the documentation's sites finds what people look for: Chinese words, names, and messages as they were printed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from shared import PAGES, ROOT

SEARCHES = [
    ("en", "offline", "airgap"),
    ("en", "air gap", "airgap"),
    ("en", "firewall", "firewall"),
    ("en", "token", "security"),
    ("en", "upgrade", "upgrade"),
    ("en", "migration", "versions"),
    ("en", "NFS", "store"),
    ("en", "sudo", "requirements"),
    ("en", "AWX", "awx"),
    ("en", "backup", "backup"),
    ("en", "rollback", "upgrade"),
    ("en", "gpustack_registry", "airgap"),
    ("en", "uninstall", "operations"),
    ("en", "port", "firewall"),
    ("en", "error", "troubleshooting"),
    ("en", "driver", "versions"),
    ("en", "drain", "maintenance"),
    ("en", "rotate_token", "maintenance"),
    ("en", "worker rests", "maintenance"),
    ("en", "FAIL [npu_count] atlas3: 7 of 8 NPUs are usable: NPU 5 health is Alarm", "troubleshooting"),
    ("en", "iptables: No chain/target/match by that name", "firewall"),
    ("en", "deploy models", "models"),
    ("zh", "离线", "airgap"),
    ("zh", "防火墙", "firewall"),
    ("zh", "怎么关闭防火墙", "firewall"),
    ("zh", "令牌", "security"),
    ("zh", "升级", "upgrade"),
    ("zh", "迁移", "versions"),
    ("zh", "怎么升级", "versions"),
    ("zh", "等级保护", "security"),
    ("zh", "断网", "airgap"),
    ("zh", "镜像", "airgap"),
    ("zh", "镜像包", "airgap"),
    ("zh", "端口", "firewall"),
    ("zh", "驱动", "versions"),
    ("zh", "卸载", "operations"),
    ("zh", "报错", "troubleshooting"),
    ("zh", "备份", "backup"),
    ("zh", "退回", "upgrade"),
    ("zh", "恢复", "backup"),
    ("zh", "扩容", "operations"),
    ("zh", "移除 worker", "maintenance"),
    ("zh", "停用 worker", "maintenance"),
    ("zh", "rotate_token", "maintenance"),
    ("zh", "接管", "takeover"),
    ("zh", "部署模型", "models"),
    ("zh", "模型存储", "store"),
    ("zh", "报错信息", "troubleshooting"),
    ("zh", "免密登录", "first-cluster"),
    ("zh", "sudo 权限", "requirements"),
]


def sections(language: str) -> list[list[str]]:
    """The guides' sections as the search is given them."""
    found = []
    for page in PAGES[language]:
        top, *rest = re.split(r"^#+ (?=.*\n)", re.sub(r"^```.*?\n|^```$", "", page.read_text(), flags=re.M), flags=re.M)[1:]
        title = top.split("\n")[0]
        found += [[f"{page.stem}.html", *part.split("\n", 1)] for part in (top, *rest)]
        found[-len(rest) - 1 :] = [
            [address, head.strip("`"), title, " ".join(text.split())] for address, head, text in found[-len(rest) - 1 :]
        ]
    return found


@pytest.mark.skipif(shutil.which("node") is None, reason="the search is JavaScript, and there is no node to run it")
@pytest.mark.parametrize("language", PAGES)
def test_what_is_looked_for_is_found_first(language):
    searches = [(query, page) for of, query, page in SEARCHES if of == language]
    ask = (
        f"console.log(JSON.stringify({json.dumps([query for query, _page in searches])}.map((query) => found(query)[0].section.address)));"
    )
    script = f"const SECTIONS = {json.dumps(sections(language))};\n{(ROOT / 'docs/_static/search.js').read_text()}\n{ask}"
    told = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == [f"{page}.html" for _query, page in searches]
