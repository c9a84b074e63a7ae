"""What GPUStack no longer knows, and what it knows that the inventory does not: told with the command, and nobody else's is removable."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils import records

GROUPS = {"gpustack_worker": ["atlas1", "atlas2", "atlas3"]}
HOSTVARS = {"atlas1": {}, "atlas2": {"gpustack_worker_name": "npu-2"}, "atlas3": {}}


def worker(number: int, name: str, ip: str, state: str = "ready", port: int = 10150, npus: int = 8) -> dict:
    return {"id": number, "name": name, "ip": ip, "state": state, "port": port, "npu_count": npus}


CLUSTER = [worker(1, "atlas1", "10.0.0.1"), worker(2, "npu-2", "10.0.0.2"), worker(3, "atlas3", "10.0.0.3", "not_ready")]


def old(*others: dict) -> list[tuple[int, bool]]:
    return [(each["id"], each["removable"]) for each in records.old_workers([*CLUSTER, *others], HOSTVARS, GROUPS)]


def test_nothing_is_old_where_the_inventory_knows_all():
    assert old() == [] and records.old_worker_lines([], "command") == []


def test_what_a_renamed_host_left_can_be_removed_and_so_can_what_is_not_ready():
    assert old(worker(7, "atlas2", "10.0.0.2", "ready"), worker(8, "gone", "10.9.9.9", "not_ready", npus=1)) == [(7, True), (8, True)]
    assert old(worker(8, "off", "10.9.9.9", "unreachable")) == [(8, True)]


def test_ready_worker_of_somebody_else_is_never_removable():
    # Not even at the address of a host of ours: another port, or ours is not up, so that it may be what answers there.
    others = [worker(9, "theirs", "10.9.9.9"), worker(10, "beside", "10.0.0.2", port=10160), worker(11, "instead", "10.0.0.3")]
    assert old(*others) == [(9, False), (10, False), (11, False)]


def test_old_workers_are_told_with_one_command_for_those_that_can_go():
    found = records.old_workers(
        [
            *CLUSTER,
            worker(9, "theirs", "10.9.9.9"),
            worker(7, "atlas2", "10.0.0.2", "not_ready"),
            worker(8, "gone", "10.9.9.8", "unreachable", npus=1),
        ],
        HOSTVARS,
        GROUPS,
    )
    assert records.old_worker_lines(found, "run this") == [
        "WARN worker theirs (10.9.9.9, ready, 8 NPUs) is in GPUStack and not in the inventory. Let it be if another inventory has it.",
        "WARN worker atlas2 (10.0.0.2, not_ready, 8 NPUs) is in GPUStack and not in the inventory; "
        "it has the address of atlas2, and is what is left of it under another name.",
        "WARN worker gone (10.9.9.8, unreachable, 1 NPU) is in GPUStack and not in the inventory. To remove it, run:",
        "run this",
    ]


def test_loss_is_told_with_the_place_of_the_copies_and_the_way_to_say_that_it_was_meant():
    lost = {"workers": ["npu7"], "models": [f"m{number}" for number in range(7)]}
    assert records.loss(lost, "atlas1", "/srv/backup", "verify this") == [
        "GPUStack on atlas1 no longer has what it had at the last run that found all well: models m0, m1, m2, m3, m4 and 2 more; "
        "workers npu7; expected all of it",
        "If its database was cut off or is gone, put a copy back: those made before an upgrade are in /srv/backup on atlas1. "
        "If it was removed on purpose, run once:",
        "verify this",
    ]
    assert records.loss({}, "atlas1", "/srv/backup", "verify this") == []
