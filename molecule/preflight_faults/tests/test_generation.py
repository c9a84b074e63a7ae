"""What preflight tells of a version, of the driver that an engine wants, and of the ports that GPUStack 2 takes, word for word."""

from __future__ import annotations

import re

import pytest
from conftest import Run

WAIT = "timeout 300 bash -c 'until (</dev/tcp/127.0.0.1/{port}) 2>/dev/null; do systemctl is-active -q squatter; done'"


def told(run: Run, check: str) -> list[str]:
    return [line for line in run.output.splitlines() if re.match(rf"(FAIL|WARN) \[{check}\]", line)]


def test_newest_engine_that_an_old_driver_carries_is_named(playbook, atlas):
    atlas("atlas2").check_output("npu-sim set driver 24.1.rc2")
    try:
        run = playbook("preflight", "--limit", "atlas1,atlas2")
    finally:
        atlas("atlas2").check_output("npu-sim reset")
    lines = told(run, "runners")
    print("\n".join(lines))
    assert lines == [
        f"WARN [runners] {host}: the driver is {driver}, which is listed for CANN {cann} at most, and GPUStack 2.3.0's newest engine is "
        f"cann9.2-910b-vllm0.30.0; a model without a version gets {runner}. That needs nothing; "
        f"gpustack_runners: [{runner}] brings its image to the workers beforehand."
        for host, driver, cann, runner in (
            ("atlas1", "25.2.0", "9.1", "cann9.1-910b-vllm0.30.0"),
            ("atlas2", "24.1.rc2", "8.2", "cann8.2-910b-vllm0.10.2"),
        )
    ]


@pytest.mark.parametrize("port, variable", [(5432, "database_port"), (19090, "builtin_prometheus_port"), (15020, "")])
def test_port_that_the_server_s_image_takes_is_looked_at(playbook, atlas, port, variable):
    server = atlas("atlas1")
    server.check_output(f"systemd-run -q --unit=squatter python3 -m http.server {port}; {WAIT.format(port=port)}")
    try:
        pid = server.check_output("systemctl show --property=MainPID --value squatter")
        run = playbook("preflight", "--limit", "atlas1,atlas2")
    finally:
        server.check_output("systemctl stop squatter")
    assert run.rc == 2
    stop = f"Stop that, or set another port: {variable} in gpustack_server_config."
    remedy = stop if variable else "Stop that; GPUStack has no other for it."
    assert told(run, "ports") == [f"FAIL [ports] atlas1: port {port} is taken by python3 (pid {pid}); GPUStack needs it. {remedy}"]


@pytest.mark.parametrize(
    "version, remedy",
    [
        (
            "2.0.3",
            "Set gpustack_version to 2.3.0; a cluster of 2.0.3 gets on with it, since GPUStack takes older data along when it starts.",
        ),
        ("2.4.0", "Set gpustack_version to 2.3.0 for a new cluster; leave one of 2.4.0 as it is, since its data cannot go back."),
        ("2.3.0rc1", "Set gpustack_version to 2.3.0, of which this is a candidate."),
        ("1.0.0", "Set gpustack_version to 0.7.1 or 2.3.0."),
    ],
)
def test_version_that_is_not_deployed_is_refused_with_the_way_on(playbook, version, remedy):
    run = playbook("preflight", "--limit", "atlas1", variables={"gpustack_version": version})
    assert run.rc == 2
    line = f"gpustack_version is {version}; this collection deploys GPUStack 0.7, 2.2.3 and 2.3. {remedy}"
    assert line in run.text
