"""Each cause for which a container does not run has a sentence and a remedy of its own."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.filter import container
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from test_node_spec import STORE, variables_of

NODE = {
    "host": "atlas1",
    "container": "gpustack",
    "role": "server",
    "wait": 300,
    "python": "/usr/bin/python3.9",
    "data_volume": "gpustack-data",
    "backup_dir": "/var/lib/gpustack-backup",
}


def told(**result) -> str:
    return container.run_failure(result, NODE, {})


@pytest.mark.parametrize(
    "message, words",
    [
        (
            "Error creating container: 409 Client Error for http+docker://localhost/v1.45/containers/create: Conflict (The name is in use)",
            "was changed by someone else at the same time",
        ),
        (
            "Failed to import the required Python library (requests) on localhost's Python /opt/py/bin/python3.",
            "ansible_python_interpreter",
        ),
        (
            "Error connecting: Error while fetching server API version: ('Connection aborted.', FileNotFoundError(2))",
            "systemctl start docker",
        ),
        ("Unsupported parameters for (community.docker.docker_container) module: x", "Correct gpustack_container_options"),
        (
            "Failed to convert memory to bytes: human_to_bytes() can't interpret following string: lots",
            "Correct gpustack_container_options",
        ),
        ("unknown or invalid runtime name: nosuch", "Correct gpustack_container_options"),
        ("unknown log opt 'max_size' for json-file log driver", "Correct gpustack_container_options"),
        ("missing parameter(s) required by 'log_options': log_driver", "Correct gpustack_container_options"),
        ('The mount point "/data/models" appears twice in the volumes option', "gpustack_volumes"),
        ("argument 'ulimits' is of type str and we were unable to convert to list", "Correct gpustack_container_options"),
        ("Error starting container: 500 Server Error: write /x: no space left on device", "Make room: docker system df"),
        ("Error starting container: 500 Server Error: driver failed", "Docker refuses the container gpustack (Error starting container"),
    ],
)
def test_refusal_of_docker_is_named_and_is_no_question_of_time(message, words):
    text = told(msg=message, kind="docker")
    assert text.startswith("atlas1: ") and words in text
    assert "gpustack_wait" not in text


@pytest.mark.parametrize(
    "kind, words",
    [
        ("database", "ls -l /var/lib/gpustack-backup"),
        ("setting", "Correct gpustack_server_config."),
        ("token", "Run the playbook workers"),
        ("server", "with the playbook firewall"),
        ("trust", "Set gpustack_tls_ca to the certificate of who signed it."),
        ("store", "Run the playbook storage"),
        ("memory", "Raise memory in gpustack_container_options"),
        ("paused", "docker unpause gpustack"),
        ("stopped", "docker start gpustack"),
        ("gone", "Someone else removed it"),
        ("ended", "does not stay up"),
        ("engine", "journalctl -u docker"),
    ],
)
def test_end_of_a_container_is_named_and_is_no_question_of_time(kind, words):
    text = told(kind=kind, detail="its own words", log="the log")
    assert words in text and "gpustack_wait" not in text
    assert text.endswith("\nThe end of `docker logs gpustack`:\nthe log")


def test_taken_port_is_named_with_the_command_that_shows_by_whom():
    text = told(kind="port", detail="error while attempting to bind on address ('0.0.0.0', 8080): address already in use")
    assert "ss -ltnp 'sport = :8080'" in text
    text = told(kind="port", detail="Port 5432 required for service 'postgres' is not available")
    assert "ss -ltnp 'sport = :5432'" in text


def test_more_time_is_the_remedy_where_nothing_else_is_known():
    assert told(kind="time", detail="its log names no error") == (
        "atlas1: the container gpustack is not healthy after 300 s, and its log names no error; expected it healthy. "
        "Raise gpustack_wait if it only needs longer."
    )


def test_log_of_a_failed_start_is_shown_without_secrets():
    text = container.run_failure({"kind": "time", "detail": "x", "log": "token 0123abcd"}, NODE, {"token": "0123abcd", "x": None})
    assert "0123abcd" not in text and "token ***" in text


def unfit(version="0.7.1", role="server", works=True, **given) -> list[str]:
    node = {"settings": {}, "cache_dir": "/data/models/gpustack-cache", "models_dir": "/data/models", "volumes": [], "options": {}}
    node["runtimes"] = ["io.containerd.runc.v2", "runc"]
    return container.setting_problems({**node, "version": version, "role": role, "works": works, **given})


def test_address_at_which_nothing_on_the_host_asks_is_refused():
    (text,) = unfit(settings={"host": "10.0.0.1"})
    assert text.startswith("gpustack_server_config has host: 10.0.0.1") and "Remove host" in text
    assert unfit(settings={"host": "0.0.0.0"}) == unfit() == unfit("2.3.0") == []


def test_settings_that_fit_another_version_than_the_one_that_stays_are_refused_by_the_host():
    assert unfit("2.3.0", "worker", settings={"metrics_port": 1, "worker_port": 2}) == [
        "gpustack_worker_config has the setting metrics_port; expected a worker's setting. Set worker_metrics_port, and remove this."
    ]
    assert unfit("2.3.0", settings={"host": "10.0.0.1"}) == [
        "gpustack_server_config has the setting host; expected a setting that GPUStack 2.3 has. Remove it."
    ]


def test_a_cache_that_models_do_not_get_is_refused():
    inside = {"cache_dir": "/var/lib/gpustack/cache"}
    (text,) = unfit("2.3.0", **inside)
    assert text == (
        "gpustack_cache_dir /var/lib/gpustack/cache lies in GPUStack's data, which models' containers do not get; "
        "expected a directory that they get. Set gpustack_cache_dir: /data/models/gpustack-cache, or mount one there with gpustack_volumes."
    )
    assert unfit("2.3.0", **inside, works=False) == unfit("0.7.1", **inside) == []
    assert unfit("2.3.0", **inside, volumes=["/srv/cache:/var/lib/gpustack/cache"]) == []


def test_a_worker_that_may_not_be_privileged_is_refused_where_it_has_to_be():
    assert unfit("2.3.0", options={"privileged": "false"}) == [
        "gpustack_container_options has privileged: false, and a worker of GPUStack 2.3 makes containers that are; "
        "expected it to be so too. Remove it."
    ]
    assert unfit("2.3.0", options={"privileged": True}) == unfit(options={"privileged": False}) == []


def test_a_runtime_that_docker_does_not_have_is_refused_before_the_container_is_made():
    assert unfit("2.3.0", options={"runtime": "ascend"}) == [
        "gpustack_container_options has runtime: ascend, and Docker there has io.containerd.runc.v2, runc; expected one of these. "
        "Remove it, since GPUStack needs none, or have Docker know it, as the installer of Ascend Docker Runtime does for ascend."
    ]
    assert unfit("2.3.0", role="server", works=False, options={"runtime": "ascend"}) != []
    assert unfit(options={"runtime": "runc"}) == unfit(options={"runtime": "ascend"}, runtimes=["ascend", "runc"]) == []
    # Not known, or one that Docker takes as it is called
    assert unfit(options={"runtime": "ascend"}, runtimes=[]) == unfit(options={"runtime": "io.containerd.kata.v2"}) == []


@pytest.mark.parametrize(("runtimes", "count"), [(["ascend", "runc"], 0), (["runc"], 1)])
def test_a_runtime_is_looked_for_among_those_that_preflight_has_read(runtimes, count):
    variables = variables_of("worker", "worker", "1.45", STORE, {"gpustack_container_options": {"runtime": "ascend"}})
    variables["ascend_driver_check_host"] = {**variables.pop("__gpustack_host"), "docker": {"runtimes": runtimes}}
    found = Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ _gpustack_setting_problems }}"))
    assert len(found) == count


def test_token_that_a_cluster_does_not_take_is_refused_with_what_to_do_now():
    fits = {"differs": False, "unknown": False, "file": "/srv/gpustack/token"}
    assert container.token_problems(fits) == []
    assert container.token_problems({**fits, "differs": True}) == [
        "gpustack_token is not the token of the cluster that is there; expected that, which GPUStack keeps in /srv/gpustack/token. Set "
        "gpustack_token to it, or take it out of the inventory; the playbook rotate_token gives the cluster another one."
    ]
    assert container.token_problems({**fits, "unknown": True}) == [
        "gpustack_server_config has a database_url, and gpustack_token is not set; expected the token of the cluster in that database. Set "
        "gpustack_token to it; for an empty database, to one of your own (openssl rand -hex 16)."
    ]


def test_cause_of_a_worker_that_is_not_ready_is_told_only_where_it_is_known():
    assert container.cause({"kind": "token", "detail": "Invalid authentication credentials"}, NODE).startswith(
        "the server refuses the token"
    )
    assert container.cause({"kind": "time", "detail": "x"}, NODE) == container.cause({"msg": "unreachable"}, NODE) == ""


def test_refusal_of_docker_says_that_the_container_that_is_there_stayed():
    assert told(kind="docker", msg="unknown or invalid runtime name: nosuch", kept=True).endswith(
        "The container that is there was left as it is."
    )
    assert "left as it is" not in told(kind="docker", msg="unknown or invalid runtime name: nosuch")
