"""What preflight tells an operator of each fault, word for word, with several faults on several hosts in one run."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml
from conftest import HOSTS, VERSION, Run, lab

ONE_HOSTNAME = (
    f"WARN [hostname] {', '.join(HOSTS)}: the hostname localhost.localdomain is shared by {', '.join(HOSTS)}. "
    "Harmless here, since workers have names of their own; hostnamectl set-hostname tells them apart."
)
REBOOT = (
    "Reboot the host if the driver, its firmware or the kernel was updated since the last start; otherwise check "
    r"'lsmod | grep -E drv_\|asdrv_', 'ls -l /dev/davinci_manager', and run as root. "
)
NO_NPUS = "A host without NPUs needs ascend_driver_check_expected_npus: 0."
VITAL = "The server or the store is among them (atlas1): nothing can go on without it."


def silent(host: str, problem: str) -> str:
    return f"FAIL [npu_smi] {host}: 0 of 8 NPUs are usable: {problem}{NO_NPUS}"


def findings(run: Run) -> list[str]:
    """The report's lines as they are printed, without the hostname and the engines that all of the lab's hosts share."""
    told = [line for line in run.output.splitlines() if re.match(r"(FAIL|WARN) \[|The (others|server or|run)|  \S", line)]
    return [line for line in told if not line.startswith(("WARN [hostname]", "WARN [runners]"))]


def failed(run: Run) -> list[str]:
    """The hosts that are red, each for one failed step."""
    assert all(counts["unreachable"] == 0 and counts["failed"] <= 1 for counts in run.recap.values())
    return sorted(name for name, counts in run.recap.items() if counts["failed"])


@pytest.fixture
def on(atlas):
    """A function that runs commands on a host. At the end all hosts are healed."""
    yield lambda name, *commands: [atlas(name).check_output(command) for command in commands]
    for name in HOSTS:
        atlas(name).check_output("npu-sim reset")


@pytest.fixture
def host_variables(tmp_path):
    """A function that writes an inventory with variables of single hosts, and returns the arguments that add it."""

    def write(**variables: dict) -> list[str]:
        path = tmp_path / "hosts.yml"
        path.write_text(yaml.safe_dump({"all": {"hosts": variables}}))
        return ["-i", str(path)]

    return write


def test_broken_drivers_are_told_apart_and_handed_to_whoever_started_the_run(playbook, on):
    for name, fault in zip(HOSTS, ("error 8005", "error 8020", "error 9005", "error libs", "garbage on")):
        on(name, f"npu-sim set {fault}")
    run = playbook("preflight", ANSIBLE_SHOW_CUSTOM_STATS="1")
    assert (run.rc, failed(run)) == (2, HOSTS)
    assert ONE_HOSTNAME in run.output
    told = findings(run)
    assert told[:4] + told[5:] == [
        silent(
            "atlas1",
            "npu-smi fails with 'dcmi module initialize failed. ret is -8005': the driver can't be reached (its kernel module is not "
            "loaded, its device nodes or libraries are not there, the user may not open them, or it was upgraded without a reboot). "
            + REBOOT,
        ),
        silent(
            "atlas2",
            "npu-smi fails with 'dcmi model initialized failed, because the device is used. ret is -8020': another container holds an NPU, "
            "and one that is held hides them all. Stop the container that holds it, or give it other NPUs. ",
        ),
        silent(
            "atlas3",
            "npu-smi fails with 'npu get board type failed. ret is -9005': the board could not be read, which often follows from the "
            "driver not being reachable. " + REBOOT,
        ),
        silent(
            "atlas4",
            "npu-smi fails with 'npu-smi: error while loading shared libraries: libc_sec.so: cannot open shared o…': a library of the "
            "driver is not found. Check that /usr/local/Ascend/driver/lib64 is whole (reinstall the driver if not), and that its folders "
            "common and driver are named in /etc/ld.so.conf.d or LD_LIBRARY_PATH. ",
        ),
        VITAL,
    ]
    assert told[4].startswith("FAIL [npu_smi] atlas5: 0 of 8 NPUs are usable: Line 1 of npu-smi info can't be read: '| 0 ")
    assert told[4].endswith(f"'. An NPU may be missing from the list. Run 'npu-smi info' on the host and compare. {NO_NPUS}")
    names = " ".join(f"- {name}" for name in HOSTS)
    assert re.search(
        rf"ascend_driver_check: bad_hosts: {names} collection_version: [0-9.]+ findings: - check: npu_smi host: atlas1", run.text
    )


def test_faulty_npus_and_a_dead_host_come_together_and_the_rest_passes(playbook, on):
    on("atlas2", "npu-sim set hang on")
    on("atlas3", "npu-sim set missing 3", "npu-sim set health 6 Alarm")
    on("atlas4", "npu-sim set driver 23.0.7", "npu-sim set health 1 Warning", "npu-sim set health 4 Critical", "npu-sim set no-node 7")
    on("atlas4", "rm /dev/hisi_hdc", "mv /etc/ascend_install.info /run")
    lab("stop", "atlas5")
    try:
        run = playbook("preflight", variables={"ascend_driver_check_timeout": 15})
        rest = playbook("preflight", "--limit", findings(run)[-1].split("'")[1])
    finally:
        lab("start", "atlas5")
        on("atlas4", "mv /run/ascend_install.info /etc")
    told = findings(run)
    away = {
        "FAIL [reachable] atlas5: no way leads to it (No route to host). "
        "Start it, correct ansible_host or this machine's routes, or leave it out with --limit.",
        "FAIL [reachable] atlas5: its SSH port does not answer (Connection timed out). "
        "Start it, correct ansible_host, open port 22 in the firewall between, or leave it out with --limit.",
    }
    assert (run.rc, rest.rc) == (2, 0)
    assert (failed(run), failed(rest)) == (HOSTS[1:], [])
    assert told[-3] in away
    assert told[:-3] + told[-2:] == [
        "WARN [driver_equal] atlas4: the driver is 23.0.7; expected 25.2.0, as on atlas1, atlas3. Bring all workers to one driver version.",
        silent(
            "atlas2",
            "npu-smi info did not end within 15 s and was killed: an NPU or its driver hangs. "
            "Look at dmesg; a reboot of the host mends most. ",
        ),
        "FAIL [npu_count] atlas3: 6 of 8 NPUs are usable: NPU 6 health is Alarm (npu-smi info -t health -i 6); "
        "npu-smi lists 7 NPUs (0, 1, 2, 4, 5, 6, 7). Repair it, or set ascend_driver_check_expected_npus: 6 for this host.",
        "FAIL [npu_count] atlas4: 5 of 8 NPUs are usable: NPU 1 health is Warning (npu-smi info -t health -i 1); "
        "NPU 4 health is Critical (npu-smi info -t health -i 4); NPU 7 has no device node. "
        "Repair it, or set ascend_driver_check_expected_npus: 5 for this host.",
        "FAIL [npu_devices] atlas4: /dev/hisi_hdc missing: containers can't use an NPU without. "
        "The driver makes them at start: look at dmesg, and reboot the host if it stays.",
        "FAIL [driver_files] atlas4: /etc/ascend_install.info is missing; expected the driver's file. Install the driver package again.",
        f"FAIL [driver_version] atlas4: the driver is 23.0.7; GPUStack {VERSION}'s image needs 24.1.rc2 or newer. "
        "Upgrade the Ascend driver and firmware, or set ascend_driver_check_minimum_driver if you know better.",
        "The others would pass with:",
        "  --limit '!atlas2,!atlas3,!atlas4,!atlas5'",
    ]
    # The dead host costs one connection's time limit, whatever follows, and is told in the report alone.
    assert "UNREACHABLE!" not in run.output


def test_docker_ports_holders_store_and_inventory_are_judged_and_a_bad_server_is_fatal_even_when_told_to_go_on(
    playbook, on, host_variables
):
    on("atlas1", "systemctl stop docker.socket docker")
    on("atlas2", "mv /usr/bin/docker /run/docker-away")
    on("atlas3", "systemd-run -q --unit=squatter python3 -m http.server 10150")
    on("atlas3", "timeout 300 bash -c 'until (</dev/tcp/127.0.0.1/10150) 2>/dev/null; do systemctl is-active -q squatter; done'")
    image = "--entrypoint=sleep quay.io/ascend/vllm-ascend:v0.9.2rc1 infinity"
    on("atlas4", f"docker run --detach --name=vllm --device=/dev/davinci0 --device=/dev/davinci1 {image}")
    on("atlas4", f"docker run --detach --name=monitor --privileged {image}")
    on("atlas5", "npu-sim set absent on")
    added = host_variables(
        atlas2={"gpustack_address": "atlas-two"},
        atlas3={"gpustack_address": address("atlas3"), "ascend_driver_check_chip_name": "910B3"},
        atlas4={"gpustack_address": address("atlas3")},
        atlas5={"gpustack_models_dir": "/data/none"},
    )
    try:
        run = playbook("preflight", *added, variables={"gpustack_preflight_continue": True})
        pid = on("atlas3", "systemctl show --property=MainPID --value squatter")[0]
    finally:
        on("atlas1", "systemctl start docker")
        on("atlas2", "mv /run/docker-away /usr/bin/docker")
        on("atlas3", "systemctl stop squatter")
        on("atlas4", "docker rm --force vllm monitor")
    assert run.rc == 2
    assert findings(run) == [
        "WARN [npu_holders] atlas4: the privileged container monitor can open every NPU; expected GPUStack alone to use them. "
        "Let it be if it only watches.",
        "FAIL [docker] atlas1: Docker Engine does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
        "Is the docker daemon running? Start it:",
        "  systemctl start docker",
        "FAIL [docker] atlas2: Docker is missing; expected Docker Engine 20.10.10 or newer. Install it and start the service.",
        "FAIL [address] atlas2: gpustack_address atlas-two does not resolve on it. Correct it, or add it to DNS or /etc/hosts.",
        "FAIL [npu_chip] atlas3: the NPUs are 910B4; expected 910B3. Correct ascend_driver_check_chip_name, or the inventory.",
        f"FAIL [ports] atlas3: port 10150 is taken by python3 (pid {pid}); GPUStack needs it. "
        "Stop that, or set another port: worker_port in gpustack_worker_config.",
        "FAIL [npu_holders] atlas4: the container vllm holds NPU 0, 1; an NPU serves one container. Stop it; "
        "of what Swarm runs, remove the service:",
        "  docker stop vllm",
        f"FAIL [own_address] atlas4: gpustack_address {address('atlas3')} is on none of its interfaces beside Docker's; expected one of "
        f"{address('atlas4')}. Set gpustack_address to the one that the other hosts use; where that leads here through NAT, or moves "
        "between hosts, say so with ascend_driver_check_skip: [own_address] for this host.",
        silent(
            "atlas5",
            "npu-smi was not found on PATH and in /usr/local/bin, /usr/local/sbin, /usr/local/Ascend/driver/tools: the Ascend driver "
            "is not installed, or npu-smi lies elsewhere. Install the driver, or put npu-smi there. ",
        ),
        "FAIL [store] atlas5: the model store /data/none does not exist; expected a mounted directory. "
        "Mount it, or set gpustack_models_dir.",
        f"FAIL [address] atlas3, atlas4: gpustack_address {address('atlas3')} is shared by atlas3, atlas4. "
        "Give each host an address of its own.",
        VITAL,
    ]


def test_seven_faults_on_five_hosts_are_one_report_where_one_model_is_to_be_served_by_several(playbook, on, host_variables):
    for number, name in enumerate(HOSTS, 1):
        on(name, f"npu-sim set address 192.168.10{number}.11")
    added = host_variables(atlas1={"ascend_driver_check_free_store_gib": 1000000})
    on("atlas2", "npu-sim set health 5 Alarm", "npu-sim set driver 24.1.rc3")
    on("atlas3", "npu-sim set link 2 down", "sed -i s/address_4=.*/address_4=192.168.103.99/ /etc/hccn.conf")
    on("atlas4", "npu-sim set tls on")
    on("atlas5", "npu-sim set address 192.168.104.18")
    run = playbook("preflight", *added, variables={"ascend_driver_check_multi_node": True, "ascend_driver_check_memory_mb": 65536})
    sizes = ", ".join(f"NPU {number} has 32768 MB" for number in range(8))
    told = findings(run)
    assert re.fullmatch(
        r"WARN \[space\] atlas1: the model store /data/models has \d+ GiB free; expected 1000000 GiB for models. "
        "Make room there, or set ascend_driver_check_free_store_gib.",
        told[0],
    )
    assert told[1:] == [
        f"FAIL [npu_memory] {', '.join(HOSTS)}: {sizes} of memory; expected 65536 MB. "
        "Correct ascend_driver_check_memory_mb, or the inventory.",
        "FAIL [npu_count] atlas2: 7 of 8 NPUs are usable: NPU 5 health is Alarm (npu-smi info -t health -i 5). "
        "Repair it, or set ascend_driver_check_expected_npus: 7 for this host.",
        "FAIL [hccn_link] atlas3: links of NPUs are not up: NPU 2 DOWN. Check cables, modules and switch ports.",
        "FAIL [hccn_address] atlas3: the address of an NPU's port is not the configured one: "
        "NPU 4 has 192.168.103.15 and /etc/hccn.conf 192.168.103.99. Set it with: hccn_tool -i N -ip -s …",
        "FAIL [driver_equal] atlas2: the driver is 24.1.rc3; expected 25.2.0, as on atlas1, atlas3, atlas4 …. "
        "Bring all workers to one driver version.",
        "FAIL [hccn_tls] atlas4: TLS of the NPUs' ports is on; expected off, as on atlas1, atlas2, atlas3 …. "
        "Set it everywhere: hccn_tool -i N -tls -s enable 0",
        "FAIL [hccn_address] atlas4, atlas5: addresses of its NPUs are also another NPU's: "
        "192.168.104.18 (atlas4 NPU 7, atlas5 NPU 0); expected each once in the cluster. "
        "Give each NPU an address of its own: hccn_tool -i N -ip -s …",
        VITAL,
    ]
    assert run.rc == 2


def test_run_goes_on_without_bad_workers_when_told_to_and_fails_at_its_end(playbook, on):
    on("atlas3", "npu-sim set health 5 Alarm")
    alarm = (
        "FAIL [npu_count] atlas3: 7 of 8 NPUs are usable: NPU 5 health is Alarm (npu-smi info -t health -i 5). "
        "Repair it, or set ascend_driver_check_expected_npus: 7 for this host."
    )
    run = playbook("site", "--check", variables={"gpustack_preflight_continue": "true"})
    assert findings(run) == [alarm, "The run goes on without atlas3."]
    assert "Told above: npu_count" in run.text
    assert (run.rc, failed(run)) == (2, ["atlas3"])
    coloured = playbook("preflight", "--limit", "atlas2,atlas3", ANSIBLE_FORCE_COLOR="1", ANSIBLE_NOCOLOR="0")
    red, yellow = (re.findall(rf"\x1b\[0;{code}m((?:FAIL|WARN) \[\w+\])", coloured.output) for code in (31, 33))
    assert (red, sorted(yellow)) == (["FAIL [npu_count]"], ["WARN [hostname]", "WARN [runners]"])
    workers = run.output.split("PLAY [GPUStack workers]")[1].split("PLAY [Verify]")[0]
    assert {name for name in HOSTS if f"[{name}]" in workers} == {"atlas2", "atlas4", "atlas5"}


def test_one_bad_worker_ends_the_whole_run_before_any_host_is_changed(playbook, on, atlas):
    look = "firewall-cmd --list-all; firewall-cmd --permanent --list-all; ls -A /data/models /etc/gpustack; docker ps --all --quiet"
    seen = {name: atlas(name).run(look).stdout for name in HOSTS}
    on("atlas3", "npu-sim set health 5 Alarm")
    run = playbook("site")
    assert (run.rc, failed(run)) == (2, ["atlas3"])
    assert re.findall(r"^PLAY \[(.+?)\]", run.output, flags=re.M) == ["Variables", "Preflight"]
    assert {counts["changed"] for counts in run.recap.values()} == {0}
    assert {name: atlas(name).run(look).stdout for name in HOSTS} == seen


ALONE = {"ansible_ssh_extra_args": "-o ControlPath=none"}


def test_each_way_not_to_be_let_in_has_its_own_words(playbook, on, host_variables, tmp_path):
    """By the real ssh client and sudo. A connection that is still open from another test would be let in."""
    known, key = tmp_path / "known_hosts", tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ask = f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={known}"
    users = (("plain", "-"), ("asked", "asked ALL=(ALL) ALL"))
    for user, rule in users:
        on("atlas5", f"useradd --create-home {user}", f"cp -r /root/.ssh /home/{user}/", f"chown -R {user} /home/{user}/.ssh")
        on("atlas5", f"echo {user}:right | chpasswd", f"echo '{rule}' | grep ALL >/etc/sudoers.d/{user} || true")
    try:
        run = playbook(
            "preflight",
            *host_variables(
                atlas2={**ALONE, "ansible_ssh_common_args": ask},
                atlas3={**ALONE, "ansible_ssh_private_key_file": str(key)},
                atlas4={"ansible_port": 1},
                atlas5={"ansible_user": "plain"},
            ),
        )
        known.write_text("".join(f"{address(name)} {key.with_suffix('.pub').read_text()}" for name in HOSTS))
        again = playbook(
            "preflight",
            *host_variables(
                atlas2={**ALONE, "ansible_ssh_common_args": ask},
                atlas3={"ansible_host": "no-such-host.invalid", "gpustack_address": address("atlas3")},
                atlas4={"ansible_host": address("atlas5"), "ansible_user": "asked", "ansible_become": True, "gpustack_address": "atlas4"},
                atlas5={"ansible_user": "asked", "ansible_become": True, "ansible_become_password": "wrong"},
            ),
        )
    finally:
        for user, _rule in users:
            on("atlas5", f"rm -f /etc/sudoers.d/{user}", f"until userdel --remove {user}; do pkill -KILL -u {user}; sleep 0.2; done")
    assert (failed(run), failed(again)) == (HOSTS[1:], HOSTS[1:])
    assert [line.split(". ")[0] for line in findings(run)[:-2]] == [
        "FAIL [reachable] atlas2: its SSH host key is not known here; expected it in ~/.ssh/known_hosts",
        "FAIL [reachable] atlas3: it takes no SSH key that is offered for the user root",
        "FAIL [reachable] atlas4: it is there, and nothing listens at its SSH port (Connection refused)",
        "FAIL [root] atlas5: its user has no root rights; expected root, or one who becomes root",
    ]
    assert "Set ansible_become: true, with ansible_become_password or --ask-become-pass" in run.output
    assert [line.split(". ")[0] for line in findings(again)[:-2]] == [
        "FAIL [reachable] atlas2: its SSH host key is another than the one in known_hosts",
        "FAIL [reachable] atlas3: its name no-such-host.invalid has no address here",
        "FAIL [root] atlas4: sudo asks for a password, and none is given",
        "FAIL [root] atlas5: sudo refuses the password, or lets this user do nothing",
    ]


def address(name: str) -> str:
    return f"{os.environ.get('LAB_NET', '198.18.33')}.{105 + int(name.removeprefix('atlas'))}"


def test_switch_given_as_the_word_false_is_off(playbook, on):
    on("atlas3", "npu-sim set health 5 Alarm")
    run = playbook("preflight", variables={"gpustack_preflight_continue": "false"})
    assert (run.rc, findings(run)[-1]) == (2, "  --limit '!atlas3'")


def test_host_with_fewer_npus_is_refused_by_the_playbook_workers_alone(playbook, on):
    on("atlas2", "npu-sim set missing 3")
    run = playbook("workers", "--check", "--limit", "atlas2,atlas3")
    assert (
        "atlas2: 7 of 8 NPUs are usable: npu-smi lists 7 NPUs (0, 1, 2, 4, 5, 6, 7). "
        "Repair it, or set ascend_driver_check_expected_npus: 7 for this host." in run.text
    )
    assert {name: counts["failed"] for name, counts in run.recap.items()} == {"atlas2": 1, "atlas3": 0}


def test_ports_that_firewalld_closes_are_named_when_it_stays_and_open_ones_pass(playbook, on):
    workers = ", ".join(HOSTS[1:])
    run = playbook("preflight", variables={"gpustack_firewall": "leave"})
    assert run.rc == 2
    assert findings(run) == [
        f"FAIL [firewall] {workers}: it cannot reach port 8080 of the server atlas1 (unreachable). "
        "Set gpustack_firewall: configure, or run on atlas1:",
        "  firewall-cmd --add-port=8080/tcp && firewall-cmd --runtime-to-permanent",
        f"FAIL [firewall] {workers}: port 10150 cannot be reached from the server atlas1 (unreachable). "
        "Set gpustack_firewall: configure, or run there:",
        "  firewall-cmd --add-port=10150/tcp && firewall-cmd --runtime-to-permanent",
        "The others would pass with:",
        "  --limit '!" + ",!".join(HOSTS[1:]) + "'",
    ]
    on("atlas1", "firewall-cmd --add-port=8080/tcp")
    for name in HOSTS[1:]:
        on(name, "firewall-cmd --add-port=10150/tcp --add-port=40000-40063/tcp")
    run = playbook("preflight", variables={"gpustack_firewall": "leave"})
    assert (run.rc, findings(run)) == (0, [])
