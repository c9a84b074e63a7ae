"""What an NFS client finds before it mounts, and what it makes of it: each refusal names finding, expectation and remedy."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.ascend.gpustack.plugins.filter import nfs
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import client as nfs_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import nfs_mount_info

SERVER = "172.16.33.106"
SOURCE = f"{SERVER}:/data/models"
GUIDE = f"{SOURCE} /data/models nfs vers=3,hard,intr,timeo=600,retrans=3,_netdev 0 0"
OPTIONS = ["vers=3", "hard", "timeo=600", "retrans=3", "_netdev", "nofail", "x-gpustack.managed"]
OWN = f"{SOURCE} /data/models nfs {','.join(OPTIONS)} 0 0"
WANT = {
    "server": SERVER,
    "export": "/data/models",
    "path": "/data/models",
    "version": "3",
    "options": OPTIONS,
    "allow_hidden_files": False,
    "replace_fstab": False,
    "server_to_come": False,
}
MOUNTED = {
    "source": SOURCE,
    "fstype": "nfs",
    "address": SERVER,
    "options": ["hard", "retrans=3", "rw", "timeo=600", "vers=3"],
    "device": "0:52",
}
ASKED = {
    "address": SERVER,
    "local": False,
    "port": "open",
    "exports": {"/data/models": ["172.16.33.0/24"]},
    "error": None,
    "seen_as": "172.16.33.107",
    "admitted": {"/data/models": True},
}
UNASKED = {**ASKED, "port": None, "exports": None, "seen_as": None, "admitted": {}}
FRESH = {
    "tools": True,
    "exists": True,
    "answers": True,
    "mount": None,
    "fstab": [],
    "hidden_files": [],
    "containers": [],
    "server": ASKED,
    "read_ahead_kb": None,
}


def entries(*lines: str) -> list[dict]:
    return [vars(entry) for entry in nfs_mounts.parse_fstab("\n".join(lines), "/data/models")]


def plan(want: dict | None = None, **info) -> dict:
    return nfs.nfs_mount_plan({**copy.deepcopy(FRESH), **info}, {**WANT, **(want or {})})


def problems(want: dict | None = None, **info) -> list[str]:
    return plan(want, **info)["problems"]


def test_fresh_host_is_to_mount_and_to_keep_the_entry():
    changes = [f"mount /data/models: {SOURCE}", f"/etc/fstab: {OWN}"]
    assert plan() == {"problems": [], "mounted": [], "notes": [], "mount": True, "fstab": True, "changes": changes}


def test_host_that_has_all_of_it_needs_nothing():
    nothing = {"problems": [], "mounted": [], "notes": [], "mount": False, "fstab": False, "changes": []}
    assert plan(mount=MOUNTED, fstab=entries(OWN), server=UNASKED) == nothing


def test_run_killed_between_entry_and_mount_goes_on_with_the_mount():
    changes = [f"mount /data/models: {SOURCE}"]
    assert plan(fstab=entries(OWN)) == {"problems": [], "mounted": [], "notes": [], "mount": True, "fstab": False, "changes": changes}


def test_three_failures_of_the_server_are_three_messages():
    dead, missing, refused = (copy.deepcopy(ASKED) for _number in range(3))
    dead.update(port="timeout", exports=None, admitted={})
    missing.update(exports={"/srv": []}, admitted={"/srv": True})
    refused.update(exports={"/data/models": ["172.16.33.108", "172.16.33.109"]}, admitted={"/data/models": False})
    assert problems(server=dead) == [
        "the NFS server 172.16.33.106 does not answer on port 2049 (timeout); expected an answer within 3 s. Start that host, "
        "or open its ports 2049, 111 and 20048 for this one."
    ]
    assert problems(server=missing) == [
        "the NFS server 172.16.33.106 exports /srv; expected /data/models. Export it there, or correct gpustack_store_export."
    ]
    assert problems(server=refused) == [
        "the NFS server 172.16.33.106 exports /data/models to 172.16.33.108, 172.16.33.109; expected this host (172.16.33.107) among them. "
        "Add it there."
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"port": "unresolved", "address": None}, "does not resolve"),
        ({"port": "refused"}, "refuses port 2049; expected a running NFS server"),
        ({"exports": None, "error": "clnt_create: RPC: Timed out"}, "does not say what it exports (clnt_create: RPC: Timed out)"),
        ({"exports": {}, "admitted": {}}, "exports nothing; expected /data/models"),
    ],
)
def test_other_failures_of_the_server_are_told_apart(changes, told):
    (problem,) = problems(server={**ASKED, **changes})
    assert told in problem


def test_server_of_version_4_alone_is_mounted_without_its_list_of_exports():
    server = {**ASKED, "exports": None, "error": "clnt_create: RPC: Program not registered", "admitted": {}}
    assert problems({"version": "4.2"}, server=server) == []


def test_server_that_is_yet_to_be_set_up_is_no_problem_of_a_check():
    assert problems({"server_to_come": True}, server={**ASKED, "port": "refused"}) == []


def test_store_is_not_mounted_over_itself():
    assert problems(server={**ASKED, "local": True})[0].startswith("the NFS server 172.16.33.106 is this host itself")
    assert plan(server={**ASKED, "local": True})["mounted"] == [], "nothing is mounted"


def test_files_that_a_mount_would_hide_are_shown_and_kept():
    assert problems(hidden_files=["old-model", "weights"]) == [
        "/data/models holds old-model, weights, which the mounted store would hide; expected an empty directory. "
        "Move them away, or set nfs_client_allow_hidden_files: true."
    ]
    assert problems({"allow_hidden_files": True}, hidden_files=["old-model"]) == []


def test_other_file_system_on_the_mount_point_is_refused():
    disk = {"source": "/dev/sdb1", "fstype": "xfs", "address": None, "options": ["rw"], "device": "8:17"}
    other = {**MOUNTED, "source": "172.16.33.99:/data/models", "address": "172.16.33.99"}
    assert plan(mount=disk, server=UNASKED)["mounted"] == problems(mount=disk, server=UNASKED)
    assert problems(mount=disk, server=UNASKED) == [
        f"/data/models has /dev/sdb1 (xfs) mounted on it; expected {SOURCE}. Unmount it (umount /data/models, "
        "and take its line out of /etc/fstab); what is in it stays where it is. If it is the store that all hosts share, set "
        "gpustack_store_type: external; if another NFS server has the store, correct gpustack_store_server and gpustack_store_export."
    ]
    assert "172.16.33.99:/data/models (nfs)" in problems(mount=other, server=UNASKED)[0]


def test_mount_of_the_same_server_by_its_name_is_the_same():
    assert problems(mount={**MOUNTED, "source": "storage:/data/models"}, server=UNASKED) == []


def test_mounted_store_that_does_not_answer_is_refused_with_what_its_server_does():
    (problem,) = problems(mount=MOUNTED, answers=False, exists=None, server={**ASKED, "port": "refused", "exports": None, "admitted": {}})
    assert problem.startswith(f"the model store /data/models ({SOURCE}) does not answer (its port 2049: refused); expected ")
    assert plan(mount=MOUNTED, answers=False, exists=None, server={**ASKED, "port": "refused"}, fstab=entries(GUIDE))["mounted"] == [
        problem
    ]


def test_entry_of_the_guide_is_taken_over_and_said():
    found = plan(mount=MOUNTED, fstab=entries("# a comment", GUIDE), server=UNASKED)
    assert (found["problems"], found["mount"], found["fstab"]) == ([], False, True)
    assert found["notes"] == [f"the entry of /etc/fstab made by hand, line 2 ({GUIDE}), is taken over"]


@pytest.mark.parametrize(
    "line",
    [
        f"{SOURCE} /data/models nfs vers=3,soft,timeo=600,retrans=3 0 0",
        f"{SOURCE} /data/models nfs4 hard,timeo=600,retrans=3 0 0",
        f"{SOURCE} /data/models nfs ro,vers=3,hard,timeo=600,retrans=3 0 0",
        "172.16.33.99:/data/models /data/models nfs vers=3,hard,timeo=600,retrans=3 0 0",
        "/dev/sdb1 /data/models/ xfs defaults 0 0",
    ],
)
def test_entry_by_hand_that_says_something_else_is_shown_and_replaced_only_when_told_to(line):
    found = plan(fstab=entries(line))
    assert found["problems"] == [
        f"the entry of /etc/fstab made by hand, line 1 ({line}), differs; expected {OWN}. "
        "Change it, or set nfs_client_replace_fstab: true to have it replaced."
    ]
    found = plan({"replace_fstab": True}, fstab=entries(line))
    assert (found["problems"], found["fstab"]) == ([], True)
    assert found["notes"] == [f"the entry of /etc/fstab made by hand, line 1 ({line}), is replaced"]


def test_own_entry_follows_the_variables_and_the_mount_is_said_to_come_later():
    found = plan(
        {"options": ["vers=3", "hard", "timeo=600", "nconnect=4", *OPTIONS[4:]]}, mount=MOUNTED, fstab=entries(OWN), server=UNASKED
    )
    assert (found["problems"], found["mount"], found["fstab"]) == ([], False, True)
    assert found["notes"] == [
        "/data/models is mounted without nconnect=4; that comes when it is mounted anew, at the latest with the next boot"
    ]


def test_two_entries_are_refused():
    assert problems(fstab=entries(GUIDE, OWN)) == [
        f"/etc/fstab has 2 entries for /data/models (line 1: {GUIDE}; line 2: {OWN}); expected one. Remove all others."
    ]


def test_fstab_is_read_as_mount_reads_it():
    lines = ("#/x /data/models nfs defaults", "", "LABEL=a /data ext4 defaults 0 1", "nas:/a\\040b /data/models/ nfs vers=3")
    text = "\n".join((*lines, "  nas:/x\t/data/models\tnfs"))
    assert [(entry["line"], entry["source"], entry["options"]) for entry in entries(text)] == [
        (4, "nas:/a b", ["vers=3"]),
        (5, "nas:/x", []),
    ]


def test_exports_are_read_as_showmount_prints_them():
    text = "/data/models 172.16.33.0/24,172.16.40.7\n/srv/with blank  (everyone)\n/home         *\n"
    assert nfs_mounts.parse_showmount(text) == {
        "/data/models": ["172.16.33.0/24", "172.16.40.7"],
        "/srv/with blank": [],
        "/home": ["*"],
    }


@pytest.mark.parametrize(
    ("clients", "admitted"),
    [
        ([], True),
        (["*"], True),
        (["172.16.33.107"], True),
        (["172.16.33.0/24"], True),
        (["172.16.33.0/255.255.255.0"], True),
        (["172.16.33.108", "fd00::/64"], False),
        (["*.example.com"], None),
        (["@cluster", "172.16.33.107"], True),
    ],
)
def test_list_of_clients_tells_whether_this_host_is_let_in(clients, admitted):
    assert nfs_mounts.admits(clients, "172.16.33.107") is admitted


MOUNTINFO = f"""22 1 253:0 / / rw,relatime - ext4 /dev/vda rw
95 22 0:52 / /data/models rw,relatime shared:50 - nfs {SOURCE} rw,vers=3,hard,timeo=600,addr={SERVER}
"""


def runner(**answers: Result):
    def run(argv: list[str], timeout: float) -> Result:
        return answers.get(argv[0], Result(127, stderr="not there"))

    return run


def test_module_asks_no_server_while_the_mount_answers():
    answers = {"sh": Result(0, "/data/models\nkind directory\nfree 10 4096 0\nid 5ba7\n"), "docker": Result(0, "")}
    told = nfs_mount_info.gather({"path": "/data/models", "server": SERVER, "timeout": 5}, runner(**answers), MOUNTINFO, GUIDE)
    assert told["mount"]["address"] == SERVER and told["server"]["port"] is None
    assert (told["hidden_files"], told["containers"], told["fstab"][0]["line"]) == ([], [], 1)


def test_module_says_in_time_that_a_mounted_server_is_dead():
    answers = {"sh": Result(-9, "/data/models\n", timed_out=True), "docker": Result(1, stderr="no daemon")}
    told = nfs_mount_info.gather({"path": "/data/models", "server": "127.0.0.1", "timeout": 5}, runner(**answers), MOUNTINFO, "")
    assert (told["answers"], told["exists"], told["containers"]) == (False, None, None)
    assert (told["server"]["local"], told["server"]["port"]) == (True, "refused")


def test_module_lists_what_a_mount_would_hide():
    answers = {"sh": Result(0, "/data/models\nkind directory\nfree 10 4096 0\n"), "find": Result(0, "b\na\n")}
    told = nfs_mount_info.gather({"path": "/data/models", "server": "127.0.0.1", "timeout": 5}, runner(**answers), "", "")
    assert (told["mount"], told["hidden_files"]) == (None, ["a", "b"])


def test_containers_that_use_the_store_are_named():
    def container(name: str, source: str, running: bool = True) -> dict:
        return {"Name": f"/{name}", "State": {"Running": running}, "Mounts": [{"Source": source}]}

    given = [container("gpustack", "/data/models"), container("vllm", "/data/models/qwen"), container("other", "/data/models-old")]
    assert nfs_mounts.users_of([*given, container("old", "/data/models", False)], "/data/models") == ["gpustack", "vllm"]


def store(identity: str | None, **changes) -> dict:
    known = {"path": "/data/models", "answers": True, "exists": True, "writable": True, "source": SOURCE, "fs_id": "f1", "error": None}
    return {"gpustack_store_seen": {"store": {**known, "id": identity, **changes}}}


def test_hosts_with_one_id_see_one_store_and_the_odd_one_is_named():
    hosts = {"atlas1": store("a"), "atlas2": store("a"), "atlas3": store("b")}
    found = nfs.stores(hosts, hosts, {})
    assert [nfs.other_store(found, host) for host in hosts] == ["", "", "is another store (b) than on atlas1, atlas2 (a)"]
    assert (found["marked"], found["writer"]) == (True, "")


def test_store_without_an_id_gets_one_from_the_first_host_that_may_write():
    hosts = {"atlas1": store(None, writable=False), "atlas2": store(None), "atlas3": store(None)}
    assert nfs.stores(hosts, hosts, {})["writer"] == "atlas2"


def test_store_that_nobody_may_write_is_known_by_source_and_file_system():
    hosts = {"atlas1": store(None, writable=False), "atlas2": store(None, writable=False, fs_id="f2")}
    found = nfs.stores(hosts, hosts, {})
    assert found["writer"] == ""
    assert nfs.other_store(found, "atlas2") == f"is another store ({SOURCE} f2) than on atlas1 ({SOURCE} f1)"


def test_new_host_is_compared_with_the_server_that_the_run_leaves_alone():
    hosts = {"atlas6": store("b")}
    found = nfs.stores(hosts, hosts, store("a")["gpustack_store_seen"])
    assert nfs.other_store(found, "atlas6") == "is another store (b) than on the server (a)"


def test_dead_store_is_told_by_host():
    hosts = {"atlas1": store("a"), "atlas2": store(None, answers=False, exists=None, error="no answer within 10 s"), "atlas3": {}}
    (told,) = nfs.dead_stores(hosts, hosts)
    assert told.startswith(
        f"atlas2: the model store /data/models ({SOURCE}) does not answer (no answer within 10 s); expected a live file system."
    )


def test_clients_may_all_write_unless_writers_are_named():
    assert nfs.nfs_clients(["a", "b"], []) == [{"client": "a", "access": "rw"}, {"client": "b", "access": "rw"}]
    assert nfs.nfs_clients(["a", "b"], ["b"]) == [{"client": "b", "access": "rw"}, {"client": "a", "access": "ro"}]
