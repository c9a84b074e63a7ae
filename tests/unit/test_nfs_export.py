# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The exports file: who is in it, what is left to lines made by hand, which of those are refused, and what exportfs makes of it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import clients as nfs_clients
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import exports as nfs_exports
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import rules as nfs_rules
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import nfs_export
from hypothesis import given
from hypothesis import strategies as st

HERE = pathlib.Path(__file__).resolve()
RECORDED = json.loads((HERE.parent / "samples/exportfs/nfs-utils-2.6.2.json").read_text())
OURS = "rw,sync,no_root_squash,no_subtree_check"
GUIDE = f"172.16.33.0/24({OURS})"
READING = "ro,sync,root_squash,no_subtree_check"
DISK = "22 1 253:0 / / rw - ext4 /dev/mapper/openeuler-root rw\n30 22 253:2 / {path} rw - xfs /dev/sdb1 rw\n"
BOUND = "22 1 253:0 / / rw - ext4 /dev/mapper/openeuler-root rw\n30 22 253:0 /srv/models {path} rw - ext4 /dev/mapper/openeuler-root rw\n"
SYSTEM_DISK = "22 1 253:0 / / rw - ext4 /dev/mapper/openeuler-root rw\n"


class Server:
    """An NFS server's files, and its commands. exportfs writes its table as nfs-utils 2.6.2 does, unless answer is set."""

    def __init__(self, root: pathlib.Path) -> None:
        self.path = str(root / "models")
        os.mkdir(self.path)
        self.etc = root / "etc"
        self.etc.mkdir()
        self.places = nfs_export.Places(
            str(self.etc / "exports"), str(self.etc / "exports.d"), "gpustack.exports", str(root / "etab"), str(root / "mountinfo")
        )
        self.own, self.etab = pathlib.Path(self.places.own), pathlib.Path(self.places.etab)
        self.mounts(SYSTEM_DISK)
        self.names: dict[str, list[str]] = {}
        self.answers: list[Result | None] = []
        self.ran: list[str] = []

    def mounts(self, text: str) -> None:
        pathlib.Path(self.places.mountinfo).write_text(text.format(path=self.path))

    def by_hand(self, text: str, name: str = "exports") -> str:
        """text with {path} filled in becomes a file, which is in force at once."""
        file = self.etc / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.replace("{path}", self.path))
        self.exportfs()
        return str(file)

    def export(self, *clients: str, check: bool = False, squash: str = "no_root_squash", allow_names: bool = True, **params: Any) -> dict:
        """A client is written as "172.16.33.107" or "172.16.33.107 ro"."""
        given = [{"client": client.split(" ")[0], "access": "ro" if client.endswith(" ro") else "rw"} for client in clients]
        parameters = {"path": self.path, "clients": given, "squash": squash, "allow_names": allow_names, "timeout": 30, **params}
        return nfs_export.export(parameters, self, self.places, check)

    def problems(self, *clients: str, **params: Any) -> list[str]:
        with pytest.raises(nfs_export.RefusalError) as refusal:
            self.export(*clients, **params)
        assert str(refusal.value) == " ".join(refusal.value.problems)
        return refusal.value.problems

    def __call__(self, argv: list[str], timeout: float) -> Result:
        if argv[0] == "stat":
            if not os.path.exists(argv[-1]):
                return Result(1, "", f"stat: cannot statx '{argv[-1]}': No such file or directory\n")
            return Result(0, "directory\n" if os.path.isdir(argv[-1]) else "regular file\n")
        if argv[0] == "readlink":
            return Result(0, "".join(os.path.realpath(path) + "\0" for path in argv[4:]))
        if argv[0] == "getent":
            found = [address for address in self.names.get(argv[-1], []) if argv[1] == "ahosts" or ":" not in address]
            return Result(0 if found else 2, "".join(f"{address} STREAM {argv[-1]}\n{address} DGRAM\n" for address in found))
        if argv[0] == "find":
            done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, text=True)
            return Result(done.returncode, done.stdout)
        assert argv == ["exportfs", "-ra"]
        self.ran.append(" ".join(argv))
        answer = self.answers.pop(0) if self.answers else None
        if answer is None or (answer.rc in (0, 1) and not answer.timed_out):
            self.exportfs()
        return answer or Result(0)

    def exportfs(self) -> None:
        lines = []
        for file in [self.etc / "exports", *sorted((self.etc / "exports.d").glob("[!.]*.exports"))]:
            data = file.read_bytes() if file.is_file() else b""
            lines += [in_etab(entry) for entry in nfs_exports.parse(data, "").entries]
        self.etab.write_text("".join(lines))

    def file(self, *entries: str) -> str:
        return f"{nfs_exports.HEADER}{' '.join([self.path, *entries])}\n"


def in_etab(entry: nfs_exports.Entry) -> str:
    options = entry.options
    access = options.access or options.common
    words = [
        "ro" if access.read_only else "rw",
        "root_squash" if access.root_squash else "no_root_squash",
        "all_squash" if access.all_squash else "no_all_squash",
    ]
    sync, mountpoint = "async" if options.asynchronous else "sync", "mountpoint," if options.mountpoint else ""
    path = re.sub(r'[\s"#]', lambda match: f"\\{ord(match.group()):03o}", os.path.realpath(entry.path))
    return (
        f"{path}\t{entry.host}({words[0]},{sync},wdelay,hide,nocrossmnt,secure,{words[1]},{words[2]},"
        f"no_subtree_check,secure_locks,acl,no_pnfs,{mountpoint}anonuid={options.anonuid},anongid=65534,"
        f"sec={'sys' if options.access else 'krb5'},{','.join(words)})\n"
    )


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Server:
    return Server(tmp_path)


# The file


def test_the_file_has_one_line_for_all_clients_and_is_in_force(server: Server) -> None:
    result = server.export("172.16.33.108", "172.16.33.107", "172.16.40.0/24 ro")
    after = server.file(f"172.16.33.107({OURS})", f"172.16.33.108({OURS})", f"172.16.40.0/24({READING})")
    assert result == {
        "changed": True,
        "clients": ["172.16.33.107", "172.16.33.108", "172.16.40.0/24"],
        "covered": [],
        "mountpoint": False,
        "hidden": [],
        "notes": [],
        "diff": {"before_header": str(server.own), "after_header": str(server.own), "before": "", "after": after},
    }
    assert server.own.read_text() == after
    assert stat.S_IMODE(server.own.stat().st_mode) == 0o644
    assert os.listdir(server.own.parent) == ["gpustack.exports"]
    assert server.ran == ["exportfs -ra"]


def test_a_second_run_changes_nothing_and_calls_nobody(server: Server) -> None:
    first = server.export("172.16.33.107", "fd00::7")
    before = server.own.stat()
    second = server.export("fd00::7", "172.16.33.107")
    assert (second["changed"], second["clients"], second["diff"]["before"]) == (False, first["clients"], second["diff"]["after"])
    assert (server.own.stat().st_ino, server.ran) == (before.st_ino, ["exportfs -ra"])


def test_a_umask_does_not_hide_the_file(server: Server) -> None:
    umask = os.umask(0o077)
    try:
        server.export("172.16.33.107")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(server.own.stat().st_mode) == 0o644


def test_what_a_killed_run_left_does_not_stay(server: Server) -> None:
    server.own.parent.mkdir()
    (server.own.parent / ".gpustack.exports.new").write_text("half a li")
    server.export("172.16.33.107")
    assert os.listdir(server.own.parent) == ["gpustack.exports"]


def test_check_mode_shows_and_touches_nothing(server: Server) -> None:
    result = server.export("172.16.33.107", check=True)
    assert (result["changed"], result["diff"]["after"]) == (True, server.file(f"172.16.33.107({OURS})"))
    assert (server.own.parent.exists(), server.ran) == (False, [])


def test_check_mode_needs_no_directory_yet(server: Server) -> None:
    os.rmdir(server.path)
    assert server.export("172.16.33.107", check=True)["changed"]
    assert server.problems("172.16.33.107") == [
        f"{server.path} is not there; expected the directory to export. Make it: mkdir -p '{server.path}'."
    ]


def test_without_clients_the_file_goes(server: Server) -> None:
    server.export("172.16.33.107")
    result = server.export()
    assert (result["changed"], result["clients"], result["diff"]["after"], server.own.exists()) == (True, [], "", False)
    assert server.export()["changed"] is False
    assert len(server.ran) == 2


def test_an_export_can_be_taken_away_when_its_directory_and_its_disk_are_gone(server: Server) -> None:
    server.mounts(DISK)
    server.export("172.16.33.107")
    server.mounts(SYSTEM_DISK)
    os.rmdir(server.path)
    assert server.export()["changed"] and not server.own.exists()
    assert not server.export()["changed"]


def test_a_check_of_taking_the_export_away_shows_it_and_leaves_it(server: Server) -> None:
    server.export("172.16.33.107")
    before = server.own.read_text()
    found = server.export(check=True)
    assert (found["changed"], found["diff"]["before"], found["diff"]["after"]) == (True, before, "")
    assert server.own.read_text() == before


def test_an_export_is_taken_away_where_the_nfs_server_was_removed(server: Server) -> None:
    server.export("172.16.33.107")
    server.answers = [Result(127)]
    found = server.export()
    assert (found["changed"], found["notes"], server.own.exists()) == (True, [], False)


def test_a_client_that_left_the_cluster_is_taken_out(server: Server) -> None:
    server.export("172.16.33.107", "172.16.33.108")
    assert server.export("172.16.33.108")["changed"] is True
    assert server.own.read_text() == server.file(f"172.16.33.108({OURS})")


def test_a_change_by_hand_is_overwritten(server: Server) -> None:
    server.export("172.16.33.107")
    server.own.write_bytes(server.own.read_bytes() + b"/srv *(rw)\xff\n")
    result = server.export("172.16.33.107")
    assert (result["changed"], result["diff"]["before"].endswith("/srv *(rw)\ufffd\n")) == (True, True)
    assert server.own.read_text() == server.file(f"172.16.33.107({OURS})")


@pytest.mark.parametrize("name", ["my models", "a#b", 'a"b', "b\u00fccher"])
def test_a_directory_with_an_odd_name_is_read_back_as_it_is(server: Server, name: str) -> None:
    server.path = f"{server.path}/{name}"
    os.mkdir(server.path)
    server.export("172.16.33.107")
    (entry,) = nfs_exports.parse(server.own.read_bytes(), "").entries
    assert entry.path == server.path


def test_a_trailing_slash_means_the_same_directory(server: Server) -> None:
    server.export("172.16.33.107")
    assert server.export("172.16.33.107", path=f"{server.path}/")["changed"] is False


@pytest.mark.parametrize(
    ("squash", "options"),
    [
        ("no_root_squash", "rw,sync,no_root_squash,no_subtree_check"),
        ("root_squash", "rw,sync,root_squash,no_subtree_check"),
        ("all_squash", "rw,sync,all_squash,no_subtree_check"),
    ],
)
def test_squash_is_for_those_who_write(server: Server, squash: str, options: str) -> None:
    server.export("172.16.33.107", "172.16.33.108 ro", squash=squash)
    assert server.own.read_text() == server.file(f"172.16.33.107({options})", f"172.16.33.108({READING})")
    assert server.export("172.16.33.107", "172.16.33.108 ro", squash=squash)["changed"] is False


# Clients


def test_the_same_client_is_taken_once_and_may_write_if_it_may_anywhere(server: Server) -> None:
    server.names = {"node2": ["172.16.33.107"]}
    result = server.export("172.16.33.107 ro", "node2", "172.16.33.107/32 ro", "::ffff:172.16.33.107 ro")
    assert result["clients"] == ["172.16.33.107"]
    assert server.own.read_text() == server.file(f"172.16.33.107({OURS})")


def test_narrow_networks_come_first_since_the_first_that_fits_counts(server: Server) -> None:
    clients = ["10.0.0.0/8 ro", "fd00::/64", "10.1.0.0/16", "10.1.1.1", "fd00::7", "9.0.0.0/8"]
    assert server.export(*clients)["clients"] == ["10.1.1.1", "10.1.0.0/16", "9.0.0.0/8", "10.0.0.0/8", "fd00::7", "fd00::/64"]


def test_a_name_stands_in_the_file_as_its_address(server: Server) -> None:
    server.names = {"node2": ["127.0.1.1", "172.16.33.107"], "node3": ["fd00::8", "172.16.33.108"], "node4": ["fd00::9"]}
    assert server.export("node2", "node3", "node4")["clients"] == ["172.16.33.107", "172.16.33.108", "fd00::9"]


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        (
            "172.16.33.106/24",
            "client 172.16.33.106/24 has bits of a host set; expected a network. Write 172.16.33.0/24 for the whole network,"
            " or 172.16.33.106 for that host alone.",
        ),
        ("0.0.0.0/0", "client 0.0.0.0/0 is every host there is; expected the cluster's own network. Give that."),
        ("172.16.33.0/33", "client '172.16.33.0/33' is no network; expected such as 172.16.33.0/24. Correct it."),
        ("172.16.33.0/255.255.255.0", "client '172.16.33.0/255.255.255.0' is no network; expected such as 172.16.33.0/24. Correct it."),
        (
            "172.16.33.300",
            "client '172.16.33.300' is no address, network or host name; expected such as 172.16.33.107 or 172.16.33.0/24. Correct it.",
        ),
        ("*", "client '*' is no address, network or host name; expected such as 172.16.33.107 or 172.16.33.0/24. Correct it."),
        (
            "fe80::1%eth0",
            "client 'fe80::1%eth0' is no address, network or host name; expected such as 172.16.33.107 or 172.16.33.0/24. Correct it.",
        ),
        (
            "node9",
            "client node9 can't be resolved; expected a name with an address. Correct it, make it known to getent ahosts node9,"
            " or give its address.",
        ),
        (
            "node1",
            "client node1 resolves to 127.0.1.1, where every host finds itself; expected an address on the network."
            " Correct /etc/hosts, or give its address.",
        ),
    ],
)
def test_a_client_that_is_none_is_refused(server: Server, client: str, problem: str) -> None:
    server.names = {"node1": ["127.0.1.1"]}
    for check in (True, False):
        assert server.problems("172.16.33.107", client, check=check) == [problem]
    assert (server.own.exists(), server.ran) == (False, [])


def test_names_can_be_forbidden(server: Server) -> None:
    server.names = {"node2": ["172.16.33.107"]}
    assert server.problems("node2", allow_names=False) == [
        "client node2 is a host name; expected an address or a network. Give its address."
    ]


def test_all_problems_are_told_at_once(server: Server) -> None:
    server.by_hand("{path} 172.16.33.107(ro)\n")
    os.rmdir(server.path)
    pathlib.Path(server.path).write_text("")
    problems = server.problems("172.16.33.106/24", "node9", "172.16.33.107")
    assert [re.sub(r"[:;,(].*", "", problem.replace(str(server.etc), "/etc").replace(server.path, "PATH")) for problem in problems] == [
        "PATH is a regular file",
        "client 172.16.33.106/24 has bits of a host set",
        "client node9 can't be resolved",
        "/etc/exports",
    ]


@pytest.mark.parametrize("path", ["models", "/data/a\nb", "/data/a\\040b", "/data/\0"])
def test_a_path_that_exports_files_can_t_hold_is_refused(server: Server, path: str) -> None:
    assert server.problems("172.16.33.107", path=path) == [
        f"path {path!r} can't be exported; expected an absolute one without backslashes and control characters. Correct it."
    ]


def test_a_directory_that_does_not_answer_holds_nothing_up(server: Server) -> None:
    def runner(argv: list[str], timeout: float) -> Result:
        return Result(-9, timed_out=True) if argv[0] in ("stat", "readlink") else server(argv, timeout)

    parameters = {
        "path": server.path,
        "clients": [{"client": "172.16.33.107", "access": "rw"}],
        "squash": "no_root_squash",
        "allow_names": True,
        "timeout": 30,
    }
    with pytest.raises(nfs_export.RefusalError) as refusal:
        nfs_export.export(parameters, runner, server.places, False)
    assert refusal.value.problems == [
        f"{server.path} does not answer within 30 s; expected a directory on a disk. See what is mounted there: findmnt."
    ]


# Lines made by hand that serve


def test_the_guide_s_line_serves_the_cluster_and_stays_alone(server: Server) -> None:
    file = server.by_hand(f"# models\n\n{{path}} {GUIDE}\n")
    for _run in ("first", "second"):
        assert server.export("172.16.33.107", "172.16.33.108") == {
            "changed": False,
            "clients": [],
            "covered": [{"client": "172.16.33.107", "where": f"{file}:3"}, {"client": "172.16.33.108", "where": f"{file}:3"}],
            "mountpoint": False,
            "hidden": [],
            "notes": [
                f"{file}:3 serves 172.16.33.107, 172.16.33.108 already (172.16.33.0/24, rw,sync,no_root_squash);"
                " wider than asked: all of 172.16.33.0/24 may mount it."
            ],
            "diff": {"before_header": str(server.own), "after_header": str(server.own), "before": "", "after": ""},
        }
    assert (server.own.exists(), server.ran) == (False, [])


def test_only_clients_that_no_line_serves_are_in_the_file(server: Server) -> None:
    server.by_hand(f"{{path}} 172.16.33.107({OURS})\n")
    result = server.export("172.16.33.107", "172.16.33.108")
    assert (result["clients"], [entry["client"] for entry in result["covered"]]) == (["172.16.33.108"], ["172.16.33.107"])
    assert server.own.read_text() == server.file(f"172.16.33.108({OURS})")
    assert server.export("172.16.33.107", "172.16.33.108")["changed"] is False


def test_the_file_goes_when_lines_made_by_hand_serve_everyone(server: Server) -> None:
    server.export("172.16.33.107")
    server.by_hand(f"{{path}} {GUIDE}\n", "exports.d/site.exports")
    assert server.export("172.16.33.107")["changed"] is True
    assert server.own.exists() is False
    assert server.export("172.16.33.107")["changed"] is False


def test_a_line_written_by_hand_and_not_yet_exported_is_put_in_force(server: Server) -> None:
    server.by_hand(f"{{path}} {GUIDE}\n")
    server.etab.unlink()
    result = server.export("172.16.33.107")
    assert (result["changed"], result["clients"], server.ran) == (True, [], ["exportfs -ra"])
    assert server.export("172.16.33.107")["changed"] is False


@pytest.mark.parametrize(
    ("entry", "client", "wider"),
    [
        (f"172.16.33.107({OURS})", "172.16.33.107", ""),
        (f"172.16.33.0/24({OURS})", "172.16.33.0/24", ""),
        (f"172.16.33.0/255.255.255.0({OURS})", "172.16.33.0/24", ""),
        (f"172.16.0.0/16({OURS})", "172.16.33.0/24", "all of 172.16.0.0/16 may mount it"),
        (f"*({OURS})", "172.16.33.0/24", "every host may mount it"),
        (f"({OURS})", "fd00::7", "every host may mount it"),
        ("172.16.33.107(rw)", "172.16.33.107 ro", "172.16.33.107 may write"),
        ("172.16.33.107(rw,async)", "172.16.33.107 ro", "172.16.33.107 may write"),
        (
            "172.16.33.107(rw,no_root_squash)",
            "172.16.33.107 ro",
            "172.16.33.107 may write, root of a client is root (no_root_squash)",
        ),
        ("172.16.33.107", "172.16.33.107 ro", ""),
    ],
)
def test_in_what_a_line_is_wider_than_asked_is_noted(server: Server, entry: str, client: str, wider: str) -> None:
    server.by_hand(f"{{path}} {entry}\n")
    result = server.export(client)
    (note,) = result["notes"]
    assert result["clients"] == []
    assert note.partition("wider than asked: ")[2].rstrip(".") == wider


def test_many_clients_are_named_in_short(server: Server) -> None:
    server.by_hand(f"{{path}} {GUIDE}\n")
    (note,) = server.export(*(f"172.16.33.{number}" for number in range(1, 101)))["notes"]
    assert "serves 172.16.33.1, 172.16.33.2, 172.16.33.3, 172.16.33.4, 172.16.33.5 and 95 more already" in note


@pytest.mark.parametrize(
    ("entry", "clients"),
    [
        ("172.16.33.0/25", ["172.16.33.0/24"]),
        ("172.16.33.107", ["172.16.33.0/24"]),
        ("172.16.34.0/24", ["172.16.33.107"]),
        ("fd00::/64", ["172.16.33.107"]),
        ("0.0.0.0/0", ["172.16.33.107"]),
    ],
)
def test_a_line_for_others_serves_nobody(server: Server, entry: str, clients: list[str]) -> None:
    server.by_hand(f"{{path}} {entry}({OURS})\n")
    assert server.export(*clients)["clients"] == clients


def test_another_directory_s_lines_do_not_count(server: Server) -> None:
    server.by_hand(f"{{path}}2 *(rw)\n{os.path.dirname(server.path)} *(rw)\n{{path}}/sub *(ro)\n")
    result = server.export("172.16.33.107")
    assert (result["clients"], result["notes"]) == (["172.16.33.107"], [])


def test_a_link_to_the_directory_is_the_directory(server: Server) -> None:
    link = server.etc / "link"
    link.symlink_to(server.path)
    server.by_hand(f"{link} {GUIDE}\n")
    assert server.export("172.16.33.107")["clients"] == []


def test_a_line_by_name_serves_the_addresses_of_the_name(server: Server) -> None:
    server.names = {"node2": ["fd00::7", "172.16.33.107"]}
    server.by_hand(f"{{path}} node2({OURS})\n")
    assert server.export("172.16.33.107", "fd00::7")["clients"] == []


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("@cluster", "a netgroup"),
        ("*.cluster.local", "a pattern for host names, not for addresses"),
        ("172.16.33.*", "a pattern for host names, not for addresses"),
        ("node7", "a name that can't be resolved"),
        ("gss/krb5", "which is for clients with Kerberos"),
        ("0.0.0.0/0", "which exportfs takes for no host (* is every host)"),
        ("172.16.33.0/33", "which is no network"),
    ],
)
def test_a_line_that_can_t_be_judged_is_noted_and_serves_nobody(server: Server, host: str, why: str) -> None:
    file = server.by_hand(f"{{path}} {host}(ro)\n")
    result = server.export("172.16.33.107")
    assert result["clients"] == ["172.16.33.107"]
    assert result["notes"] == [f"{file}:1 exports {server.path} to {host}, {why}: it was not judged, and stays as it is."]
    assert server.export("172.16.33.107")["changed"] is False


def test_a_line_that_is_there_twice_is_noted_once(server: Server) -> None:
    server.names = {"node2": ["172.16.33.107"]}
    file = server.by_hand(f"{{path}} 172.16.33.107({OURS}) {GUIDE} \\\n node2(ro)\n{{path}} 172.16.33.0/24(ro)\n")
    notes = server.export("172.16.33.107")["notes"]
    assert notes[:2] == [
        f"{file}:2 exports {server.path} to node2 again: exportfs takes {file}:1 alone, and reports an error at every call."
        " Remove one of them.",
        f"{file}:3 exports {server.path} to 172.16.33.0/24 again: exportfs takes {file}:1 alone, and reports an error at every call."
        " Remove one of them.",
    ]
    assert len(notes) == 3


def test_a_host_that_a_line_takes_out_of_the_network_is_noted(server: Server) -> None:
    file = server.by_hand("{path} 172.16.33.50(ro)\n")
    result = server.export("172.16.33.0/24")
    assert result["clients"] == ["172.16.33.0/24"]
    assert result["notes"] == [
        f"{file}:1 exports {server.path} to 172.16.33.50 in 172.16.33.0/24 with ro,sync,root_squash: that holds there."
    ]


def test_where_exportfs_stops_reading_is_noted_and_what_follows_does_not_count(server: Server) -> None:
    file = server.by_hand(f"/srv 10.0.0.1(rw, sync)\n{{path}} {GUIDE}\n")
    result = server.export("172.16.33.107")
    assert result["clients"] == ["172.16.33.107"]
    assert result["notes"] == [f"{file}:1: '10.0.0.1(rw,' is no client(options): exportfs reads that file no further. Correct that line."]


def test_files_of_exports_d_are_read_as_exportfs_reads_them(server: Server) -> None:
    directory = server.etc / "exports.d"
    directory.mkdir()
    (directory / "sub.exports").mkdir()
    for name in ("a.10.exports", "a.2.exports", ".hidden.exports", "b.exports.old", "exports", "z.exports"):
        (directory / name).write_text(f"{server.path} 172.16.0.0/16({OURS})\n")
    server.exportfs()
    assert server.export("172.16.33.107")["covered"] == [{"client": "172.16.33.107", "where": f"{directory}/a.2.exports:1"}]


# Lines made by hand that don't


@pytest.mark.parametrize(
    ("options", "adequate"),
    [
        ("rw,no_root_squash", "no_root_squash root_squash all_squash"),
        ("rw,no_root_squash,async", ""),
        ("rw", "root_squash all_squash"),
        ("rw,anonuid=0,anongid=0", "no_root_squash root_squash all_squash"),
        ("rw,all_squash", "all_squash"),
        ("rw,all_squash,anonuid=0", "no_root_squash all_squash"),
        ("rw,no_root_squash,all_squash", "all_squash"),
        ("no_root_squash", ""),
        ("ro,no_root_squash", ""),
        ("", ""),
        ("rw,no_root_squash,sec=krb5", ""),
        ("rw,no_root_squash,sec=krb5:sys", "no_root_squash root_squash all_squash"),
        ("sec=krb5,rw,no_root_squash,sec=sys,ro", ""),
        ("rw,no_root_squash,insecure,nohide,crossmnt,fsid=7,subtree_check,wdelay", "no_root_squash root_squash all_squash"),
    ],
)
@pytest.mark.parametrize("squash", ["no_root_squash", "root_squash", "all_squash"])
def test_a_line_must_let_the_clients_write_as_wanted(server: Server, options: str, adequate: str, squash: str) -> None:
    server.by_hand(f"{{path}} 172.16.33.0/24({options})\n")
    if squash in adequate.split():
        assert server.export("172.16.33.107", squash=squash)["clients"] == []
    else:
        assert len(server.problems("172.16.33.107", squash=squash)) == 1
        assert (server.own.exists(), server.ran) == (False, [])


def test_a_line_that_does_not_serve_is_refused_with_its_cure(server: Server) -> None:
    file = server.by_hand("# models\n{path} 172.16.33.0/24(rw,sync) 172.16.33.109(ro)\n")
    problems = [
        f"{file}:2 exports {server.path} to 172.16.33.0/24 with rw,sync,root_squash; expected {OURS} for 172.16.33.107, 172.16.33.108."
        f" Remove that entry, or change it to 172.16.33.0/24({OURS}).",
        f"{file}:2 exports {server.path} to 172.16.33.109 with ro,sync,root_squash; expected {OURS} for 172.16.33.109."
        f" Remove that entry, or change it to 172.16.33.109({OURS}).",
    ]
    for check in (True, False):
        assert server.problems("172.16.33.107", "172.16.33.108", "172.16.33.109", check=check) == problems
    assert (server.own.exists(), server.ran) == (False, [])


def test_the_cure_cures(server: Server) -> None:
    server.by_hand("{path} *(ro)\n")
    (problem,) = server.problems("172.16.33.107")
    server.by_hand(f"{{path}} {re.search(r'change it to (.*)[.]', problem).group(1)}\n")
    assert server.export("172.16.33.107")["clients"] == []


def test_a_blank_before_the_options_is_pointed_at(server: Server) -> None:
    file = server.by_hand("{path} 172.16.33.107 (rw,no_root_squash)\n")
    (problem,) = server.problems("172.16.33.107", "172.16.33.108")
    hint = " (The blank between 172.16.33.107 and (rw,no_root_squash) makes (rw,no_root_squash) an entry for every host.)"
    assert problem == (
        f"{file}:1 exports {server.path} to 172.16.33.107 with ro,sync,root_squash; expected {OURS} for 172.16.33.107."
        f" Remove that entry, or change it to 172.16.33.107({OURS}).{hint}"
    )
    (note,) = server.export("172.16.33.108")["notes"]
    assert note.endswith(f"wider than asked: every host may mount it.{hint}")


# The disk


def test_a_mounted_disk_is_exported_only_as_long_as_it_is_mounted(server: Server) -> None:
    server.mounts(DISK)
    assert server.export("172.16.33.107")["mountpoint"] is True
    assert server.own.read_text() == server.file(f"172.16.33.107({OURS},mountpoint)")
    assert server.export("172.16.33.107")["changed"] is False
    assert server.export("172.16.33.107", "172.16.33.108")["mountpoint"] is True

    server.mounts(SYSTEM_DISK)
    for check in (True, False):
        assert server.problems("172.16.33.107", check=check) == [
            f"the disk of {server.path} is not mounted, but was when {server.path} was first exported (mountpoint in {server.own}:2);"
            f" expected it mounted. Mount it: mount {server.path}, or remove mountpoint there to export the directory without the disk."
        ]
    server.own.write_text(server.own.read_text().replace(",mountpoint", ""))
    assert server.export("172.16.33.107")["mountpoint"] is False


def test_a_disk_mounted_after_the_first_export_changes_nothing(server: Server) -> None:
    server.export("172.16.33.107")
    server.mounts(DISK)
    assert (server.export("172.16.33.107")["changed"], server.own.read_text()) == (False, server.file(f"172.16.33.107({OURS})"))


def test_a_directory_of_the_same_disk_bound_there_is_no_mount_point_for_mountd(server: Server) -> None:
    server.mounts(BOUND)
    assert server.export("172.16.33.107")["mountpoint"] is False


def test_a_file_for_another_directory_says_nothing_of_this_one_s_disk(server: Server) -> None:
    server.mounts(DISK)
    server.own.parent.mkdir()
    server.own.write_text(f"{nfs_exports.HEADER}/srv 172.16.33.107({OURS})\n")
    assert server.export("172.16.33.107")["mountpoint"] is True


def test_a_line_made_by_hand_for_a_disk_that_is_not_mounted_is_refused(server: Server) -> None:
    file = server.by_hand(f"{{path}} 172.16.33.0/24({OURS},mp)\n")
    (problem,) = server.problems("172.16.33.107")
    assert f"(mountpoint in {file}:1)" in problem
    server.mounts(DISK)
    result = server.export("172.16.33.107")
    assert (result["covered"] != [], result["mountpoint"]) == (True, False)


# What is in force


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", "does not have 172.16.33.107 as the exports files do"),
        ("{path}\t172.16.33.107(ro,sync,no_root_squash,no_all_squash,anonuid=65534,sec=sys,ro)\n", "does not have 172.16.33.107 as"),
        ("{path}\t172.16.33.107(rw,sync,root_squash,no_all_squash,anonuid=65534,sec=sys,rw)\n", "does not have 172.16.33.107 as"),
        ("{path}\t172.16.33.0/24(rw,sync,no_root_squash,anonuid=65534,sec=sys,rw,no_root_squash)\n", "does not have 172.16.33.107 as"),
        (
            "{path}\t172.16.33.107(rw,sync,no_root_squash,anonuid=65534,sec=sys,rw,no_root_squash)\n"
            "{path}\t172.16.33.108(rw,sync,no_root_squash,anonuid=65534,sec=sys,rw,no_root_squash)\n",
            "has 172.16.33.108, which the exports files do not have (any more)",
        ),
        (
            "{path}\t172.16.33.107(rw,sync,no_root_squash,anonuid=65534,sec=sys,rw,no_root_squash)\n"
            "{path}\t*(rw,sync,no_root_squash,anonuid=65534,sec=sys,rw,no_root_squash)\n",
            "has every host, which the exports files do not have (any more)",
        ),
    ],
    ids=["missing", "ro", "squash", "network", "gone client", "gone world"],
)
def test_a_run_killed_before_exportfs_is_finished_by_the_next(server: Server, table: str, sentence: str) -> None:
    server.export("172.16.33.107")
    server.etab.write_text(table.replace("{path}", server.path))
    for check in (True, False):
        result = server.export("172.16.33.107", check=check)
        assert result["changed"] is True
        assert f"{server.etab} {sentence}" in " ".join(result["notes"])
    assert server.ran == ["exportfs -ra"] * 2
    assert server.export("172.16.33.107")["changed"] is False


def test_a_removal_killed_before_exportfs_is_finished_by_the_next(server: Server) -> None:
    server.export("172.16.33.107")
    server.own.unlink()
    assert server.export()["changed"] is True
    assert (server.etab.read_text(), server.export()["changed"]) == ("", False)


def test_a_client_that_exportfs_lists_under_another_name_is_in_force(server: Server) -> None:
    """It takes the name that any other line, even for another directory, has for the address."""
    server.names = {"node2.example.com": ["172.16.33.107"]}
    server.export("172.16.33.107")
    server.etab.write_text(server.etab.read_text().replace("172.16.33.107", "node2.example.com"))
    assert server.export("172.16.33.107")["changed"] is False


def test_a_name_made_by_hand_that_exportfs_lists_in_full_is_not_taken_for_a_stray(server: Server) -> None:
    server.names = {"node2": ["172.16.33.107"], "node2.example.com": ["172.16.33.107"]}
    server.by_hand(f"{{path}} node2({OURS})\n")
    server.etab.write_text(server.etab.read_text().replace("node2", "node2.example.com"))
    assert server.export("172.16.33.108")["changed"] is True
    server.etab.write_text(server.etab.read_text().replace("node2", "node2.example.com"))
    assert server.export("172.16.33.108")["changed"] is False
    server.names = {}
    assert server.export("172.16.33.108")["changed"] is False


def test_other_directories_in_force_are_left_alone(server: Server) -> None:
    server.export("172.16.33.107")
    server.etab.write_text(server.etab.read_text() + "/srv\t10.0.0.1(rw,sync,root_squash)\n")
    assert server.export("172.16.33.107")["changed"] is False


# exportfs


def test_a_refusal_of_exportfs_brings_the_former_file_back(server: Server) -> None:
    server.export("172.16.33.107")
    before = server.own.read_text()
    server.answers = [Result(1, "", f"exportfs: {server.path} requires fsid= for NFS export\n")]
    assert server.problems("172.16.33.107", "172.16.33.108") == [
        f"exportfs -ra did not export {server.path} as {server.own} has it; expected it in {server.etab}."
        f" It says: {server.path} requires fsid= for NFS export. {server.own} is as it was before."
    ]
    assert (server.own.read_text(), server.ran) == (before, ["exportfs -ra"] * 3)
    assert "172.16.33.108" not in server.etab.read_text()


def test_a_refusal_at_the_first_export_leaves_no_file(server: Server) -> None:
    server.answers = [Result(1, "", f"exportfs: {server.path} does not support NFS export\n")]
    assert len(server.problems("172.16.33.107")) == 1
    assert (server.own.exists(), server.etab.read_text()) == (False, "")


def test_an_error_in_another_line_is_a_note(server: Server) -> None:
    server.by_hand("/gone 10.0.0.1(rw)\n{path} 10.0.0.0/8(rw)\n{path} 10.0.0.0/8(rw)\n")
    warning = (
        "exportfs: /etc/exports [1]: Neither 'subtree_check' or 'no_subtree_check' specified for export \"10.0.0.1:/gone\".\n"
        "  Assuming default behaviour ('no_subtree_check').\n  NOTE: this default has changed since nfs-utils version 1.0.x\n\n"
    )
    errors = f"exportfs: duplicated export entries:\nexportfs: \t10.0.0.0/8:{server.path}\nexportfs: \t10.0.0.0/8:{server.path}\n"
    server.answers = [Result(1, "", f"{warning}{errors}exportfs: Failed to stat /gone: No such file or directory\n")]
    result = server.export("172.16.33.107")
    assert (result["changed"], result["clients"]) == (True, ["172.16.33.107"])
    assert result["notes"][1:] == [
        f"exportfs -ra exports {server.path}, and reports: duplicated export entries: 10.0.0.0/8:{server.path};"
        " Failed to stat /gone: No such file or directory."
    ]


def test_a_missing_etc_exports_is_no_failure(server: Server) -> None:
    server.answers = [Result(1, "", "exportfs: can't open /etc/exports for reading\n")]
    assert server.export("172.16.33.107")["changed"] is True
    assert server.own.exists()


def test_warnings_about_the_directory_are_notes(server: Server) -> None:
    stderr = f"exportfs: No options for {server.path} node5: suggest node5(sync) to avoid warning\nexportfs: {server.path}2: whatever\n"
    server.answers = [Result(0, "", stderr)]
    assert server.export("172.16.33.107")["notes"] == [
        f"exportfs -ra says: No options for {server.path} node5: suggest node5(sync) to avoid warning"
    ]


def test_exportfs_that_stops_at_a_line_made_by_hand_speaks_for_itself(server: Server) -> None:
    server.by_hand(f"{{path}} 172.16.33.0/24({OURS},no_such_option)\n")
    server.etab.write_text("")
    server.exportfs = lambda: None
    server.answers = [Result(1, "", 'exportfs: /etc/exports:1: unknown keyword "no_such_option"\n')]
    (problem,) = server.problems("172.16.33.107")
    assert problem.endswith(' It says: /etc/exports:1: unknown keyword "no_such_option".')
    assert (server.own.exists(), server.ran) == (False, ["exportfs -ra"])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Result(127), "the command exportfs is not there; expected an NFS server. Install its package, nfs-utils "),
        (Result(126, "", "Permission denied"), "exportfs -ra did not export PATH as OWN has it; expected it in ETAB. It says: Permission "),
        (Result(-9, timed_out=True), "exportfs -ra did not end within 30 s; expected an answer. Look for host names in the exports "),
    ],
)
def test_an_exportfs_that_does_not_run_leaves_everything_as_it_was(server: Server, answer: Result, problem: str) -> None:
    server.answers = [answer]
    (found,) = server.problems("172.16.33.107")
    filled = problem.replace("PATH", server.path).replace("OWN", str(server.own)).replace("ETAB", str(server.etab))
    assert found.startswith(filled)
    assert server.own.exists() is False


# Against the real exportfs


def addresses(name: str) -> list[str]:
    return RECORDED["hosts"].get(name.lower(), [])


def read_as_rules(text: str) -> list[nfs_rules.Rule]:
    """What exportfs takes of a file: the entries whose clients it knows, each client of a path once."""
    kept, seen = [], set()
    for rule in nfs_rules.rules(nfs_exports.parse(text.encode(), "exports").entries, addresses):
        path = "/data/models" if rule.entry.path == "/srv/link" else os.path.normpath("/" + rule.entry.path.lstrip("/"))
        keys = {(path, *identity) for identity in rule.identities()}
        if (rule.nets or rule.kind not in ("host", "network")) and not keys & seen:
            kept.append((path, rule))
        seen |= keys
    return kept


def as_exportfs_lists(path: str, rule: nfs_rules.Rule) -> tuple:
    options = rule.entry.options
    access = options.access
    return (
        path,
        rule.nets if rule.kind == "host" else "<world>" if rule.kind == "world" else rule.entry.host,
        "async" if options.asynchronous else "sync",
        options.anonuid,
        options.mountpoint,
        access and ("ro" if access.read_only else "rw", access.root_squash, access.all_squash),
    )


def as_listed(line: str) -> tuple:
    """A line of exportfs -v; what holds for clients without Kerberos stands after sec=sys."""
    path, host, words = re.fullmatch(r"(.*) \| (.*)\((.*)\)", line).groups()
    options = words.split(",")
    sys_words = re.search(r"sec=[^,]*\bsys\b[^,]*,(.*?)(?:,sec=|\Z)", words)
    granted = sys_words.group(1).split(",") if sys_words else None
    net = next(filter(None, map(nfs_clients.address_net, [host, *addresses(host)])), None)
    return (
        path,
        (net,) if net else host,
        options[0],
        next((int(word[8:]) for word in options if word.startswith("anonuid=")), 65534),
        "mountpoint" in options,
        granted and (granted[0], "root_squash" in granted, "all_squash" in granted),
    )


@pytest.mark.parametrize("case", RECORDED["files"], ids=lambda case: case["exports"][:60])
def test_files_are_read_as_the_real_exportfs_reads_them(case: dict[str, Any]) -> None:
    ours = [as_exportfs_lists(path, rule) for path, rule in read_as_rules(case["exports"])]
    assert sorted(ours, key=repr) == sorted(map(as_listed, case["exportfs -v"]), key=repr)


@pytest.mark.parametrize("case", RECORDED["clients"], ids=lambda case: f"{case['client']} {case['exports'][14:60]}")
def test_a_client_gets_the_entry_that_the_real_exportfs_gives_it(case: dict[str, Any]) -> None:
    known = [rule for path, rule in read_as_rules(case["exports"]) if path == "/data/models"]
    rule = nfs_rules.serving(known, nfs_clients.read_client(case["client"], "rw", None))
    assert (rule.entry.options.anonuid if rule else 65534) == case["anonuid"]


def test_exportfs_s_own_table_is_read() -> None:
    """Recorded like the others: /data/a#b, '/data/my models' and /data/models."""
    common = "wdelay,hide,nocrossmnt,secure"
    rest = "no_subtree_check,secure_locks,acl,no_pnfs"
    etab = (
        f"/data/a\\043b\t172.16.33.108(ro,sync,{common},root_squash,no_all_squash,{rest},anonuid=65534,anongid=65534,"
        "sec=sys,ro,root_squash,no_all_squash)\n"
        f"/data/my\\040models\tnode2.example.com(ro,sync,{common},root_squash,no_all_squash,{rest},mountpoint,anonuid=65534,"
        "anongid=65534,sec=sys,ro,root_squash,no_all_squash)\n"
        f"/data/models\t172.16.33.0/24(rw,sync,{common},no_root_squash,no_all_squash,{rest},anonuid=65534,anongid=65534,"
        "sec=sys,rw,no_root_squash,no_all_squash)\n"
    )
    assert [(entry.path, entry.host, str(entry.options)) for entry in nfs_exports.parse(etab.encode(), "etab").entries] == [
        ("/data/a#b", "172.16.33.108", "ro,sync,root_squash"),
        ("/data/my models", "node2.example.com", "ro,sync,root_squash,mountpoint"),
        ("/data/models", "172.16.33.0/24", "rw,sync,no_root_squash"),
    ]


# Whatever stands in the files


pieces = st.sampled_from(
    [
        b"PATH",
        b" ",
        b"\n",
        b"\\\n",
        b"\t",
        b"\r",
        b'"',
        b"#",
        b"\\040",
        b"(",
        b")",
        b"rw",
        b",",
        b"-",
        b"*",
        b"172.16.33.0/24",
        b"node2",
        b"@g",
    ]
)
texts = st.lists(pieces | st.binary(max_size=6), max_size=30).map(b"".join)


@given(texts)
def test_no_exports_file_however_broken_stops_the_module(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        server = Server(pathlib.Path(root))
        (server.etc / "exports").write_bytes(text.replace(b"PATH", server.path.encode()))
        server.etab.write_bytes(text.replace(b"PATH", server.path.encode()))
        try:
            result = server.export("172.16.33.107", "172.16.40.0/24 ro", check=True)
        except nfs_export.RefusalError as refusal:
            assert refusal.problems
        else:
            assert len(result["clients"]) + len(result["covered"]) == 2


@given(st.text())
def test_no_client_however_odd_stops_the_module(client: str) -> None:
    try:
        nfs_clients.read_client(client, "rw", lambda name: None)
    except ValueError as error:
        assert str(error).startswith("client ")


# As Ansible runs it


def run_module(server: Server, **params: Any) -> dict[str, Any]:
    program = (
        f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); import conftest;"
        "from ansible_collections.ascend.gpustack.plugins.modules import nfs_export;"
        f"nfs_export.main(nfs_export.{server.places!r})"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**params, "_ansible_check_mode": True, "_ansible_diff": True}}),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert process.stdout, process.stderr
    return json.loads(process.stdout)


def test_the_module_answers_ansible(server: Server) -> None:
    result = run_module(server, path=server.path, clients=[{"client": "172.16.33.107"}])
    assert (result["changed"], result["clients"], result["diff"]["after"]) == (
        True,
        ["172.16.33.107"],
        server.file(f"172.16.33.107({OURS})"),
    )


def test_the_module_fails_with_its_problems(server: Server) -> None:
    server.by_hand("{path} 172.16.33.107(ro) @cluster(rw)\n")
    result = run_module(server, path=server.path, clients=[{"client": "172.16.33.107"}, {"client": "10.0.0.1/8"}])
    assert (result["failed"], len(result["problems"]), len(result["notes"])) == (True, 2, 1)
    assert result["msg"] == " ".join(result["problems"])


NESTED = DISK + (
    "31 30 253:3 / {path}/Qwen rw - xfs /dev/sdc1 rw\n"
    "32 30 253:2 /own {path}/own rw - xfs /dev/sdb1 rw\n"
    "33 22 253:4 / {path}-old rw - xfs /dev/sdd1 rw\n"
)


def test_file_systems_below_the_export_are_named_with_the_ways_out(server):
    """What is bound from the same disk is a mount of its own to the NFS server, too; what lies beside the export is none of its."""
    server.mounts(NESTED)
    told = (
        f"{server.path}/Qwen (/dev/sdc1, xfs), {server.path}/own (/dev/sdb1, xfs) are file systems of their own below {server.path}, and "
        "empty on all clients; expected all of the store to be there for them. Export it by a line of your own in /etc/exports, "
        f"{server.path} CLIENTS({OURS},crossmnt), or make a store of its own of what is below, outside of {server.path}."
    )
    assert server.export("172.16.33.107")["hidden"] == [told]
    assert server.export("172.16.33.107", check=True)["hidden"] == [told]
    assert server.export()["hidden"] == []


def test_file_systems_that_clients_see_are_none_of_the_hidden_ones(server):
    server.mounts(NESTED)
    server.by_hand(f"{{path}} 172.16.33.0/24({OURS},crossmnt)\n")
    assert server.export("172.16.33.107")["hidden"] == []
    # Another client has the collection's own entry, which stays on its file system.
    assert len(server.export("172.16.33.107", "172.16.40.1")["hidden"]) == 1
    server.by_hand(f"{{path}}/Qwen 172.16.33.0/24({OURS},nohide)\n{{path}}/own 172.16.33.0/24({OURS})\n")
    (told,) = server.export("172.16.33.107")["hidden"]
    assert told.startswith(f"{server.path}/own (/dev/sdb1, xfs) is a file system of its own below {server.path}, and empty on all clients;")


def test_what_a_later_mount_covers_is_not_below_the_export(server):
    server.mounts(f"31 22 253:3 / {{path}}/Qwen rw - xfs /dev/sdc1 rw\n{DISK.splitlines(keepends=True)[1]}")
    assert server.export("172.16.33.107")["hidden"] == []


def test_links_that_lead_out_of_the_store_are_mentioned(server):
    for name, target in (("Qwen", "/mnt/disk2/Qwen"), ("near", "../elsewhere"), ("inside", "snapshots/1"), ("same", f"{server.path}/x")):
        os.symlink(target, f"{server.path}/{name}")
    outside = os.path.dirname(server.path)
    assert server.export("172.16.33.107")["notes"] == [
        f"links of {server.path} lead out of it, {server.path}/Qwen to /mnt/disk2/Qwen, {server.path}/near to {outside}/elsewhere: "
        "each client follows them to its own files, or to none."
    ]
