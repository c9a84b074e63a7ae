# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPUStack's configuration file: what is written, when, who may read it, and what is shown of it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import subprocess
import sys
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file
from hypothesis import given
from hypothesis import strategies as st

HERE = pathlib.Path(__file__).resolve()
SETTINGS = {
    "port": 8080,
    "force_auth_localhost": True,
    "cache_dir": "/data/models/gpustack-cache",
    "system_reserved": {"vram": 1, "ram": 2},
}
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def plan(present: str | None, config: dict, secrets: dict | None = None, keep: list | None = None) -> config_file.Plan:
    return config_file.plan(present, config, secrets or {}, keep or [])


def test_the_file_is_sorted_yaml_with_one_setting_a_line() -> None:
    assert plan(None, SETTINGS, {"token": TOKEN}) == config_file.Plan(
        text=config_file.HEADER
        + 'cache_dir: "/data/models/gpustack-cache"\n'
        + "force_auth_localhost: true\n"
        + "port: 8080\n"
        + 'system_reserved: {"ram": 2, "vram": 1}\n'
        + f'token: "{TOKEN}"\n',
        rewrite=True,
        changed_keys=["cache_dir", "force_auth_localhost", "port", "system_reserved", "token"],
        made=[],
        before="",
        after='cache_dir: "/data/models/gpustack-cache"\n'
        "force_auth_localhost: true\n"
        "port: 8080\n"
        'system_reserved: {"ram": 2, "vram": 1}\n'
        "token: ***\n",
    )


plain = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(st.dictionaries(st.sampled_from(["token", "port", "ray_args", "resources"]), values))
def test_whatever_is_written_is_read_back_by_yaml_and_by_the_module(config: dict[str, Any]) -> None:
    text = config_file.render(config)
    assert (yaml.safe_load(text) or {}) == config
    assert config_file.parse(text) == config_file.ConfigFile(config, own_form=True)


@given(st.text())
def test_no_file_however_broken_stops_the_module(present: str) -> None:
    planned = plan(present, {"port": 8080})
    assert yaml.safe_load(planned.text) == {"port": 8080}


def test_a_right_file_is_left_alone() -> None:
    text = plan(None, SETTINGS, {"token": TOKEN}).text
    planned = plan(text, SETTINGS, {"token": TOKEN})
    assert (planned.rewrite, planned.changed_keys, planned.before == planned.after) == (False, [], True)


def test_another_header_is_no_reason_to_restart_the_cluster() -> None:
    text = plan(None, SETTINGS).text.replace(config_file.HEADER, "# Written by an older release.\n\n")
    assert plan(text, SETTINGS).rewrite is False


def test_a_text_that_becomes_a_number_is_a_change() -> None:
    assert plan(plan(None, {"worker_name": "7"}).text, {"worker_name": 7}).changed_keys == ["worker_name"]


def test_true_that_becomes_one_is_a_change() -> None:
    assert plan(plan(None, {"debug": True}).text, {"debug": 1}).changed_keys == ["debug"]


def test_settings_that_are_null_are_left_out_and_secrets_also_when_empty() -> None:
    planned = plan(None, {"port": 80, "worker_ip": None, "log_dir": ""}, {"token": None, "bootstrap_password": ""})
    assert yaml.safe_load(planned.text) == {"port": 80, "log_dir": ""}


def test_a_kept_token_survives_and_other_old_settings_go() -> None:
    present = plan(None, {"port": 80, "debug": True}, {"token": TOKEN}).text
    planned = plan(present, {"port": 80}, keep=["token", "jwt_secret_key"])
    assert yaml.safe_load(planned.text) == {"port": 80, "token": TOKEN}
    assert planned.changed_keys == ["debug"]


def test_a_given_token_comes_before_a_kept_one() -> None:
    planned = plan(plan(None, {}, {"token": "old"}).text, {}, {"token": "new"}, ["token"])
    assert yaml.safe_load(planned.text) == {"token": "new"}


@pytest.mark.parametrize("line", ["token: abc.def", 'token: "abc.def"', "token:   'abc.def'   # the cluster's"])
def test_the_token_of_a_hand_made_file_can_be_kept(line: str) -> None:
    planned = plan(f"---\nport: 80\n{line}\n", {"port": 80}, keep=["token"])
    assert (yaml.safe_load(planned.text), planned.rewrite) == ({"port": 80, "token": "abc.def"}, True)


@pytest.mark.parametrize("text", ["token: |\n  abc\n", "token:\n  abc\n", "token: !!str abc\n", "token: abc\n  def\n"])
def test_a_token_that_can_not_be_read_is_not_lost_silently(text: str) -> None:
    with pytest.raises(config_file.ConfigError) as caught:
        plan(text, {}, keep=["token"])
    assert str(caught.value) == (
        "token is to be kept, but its value in the present file can't be read; expected the form 'token: value' on one"
        " line. Put it into that form, or give token in secrets."
    )


@pytest.mark.parametrize(
    "text",
    [
        "port: 8080\ndebug: yes\ncache_dir: /models/cache\nworker_name: 'it''s'\nhost: \"0.0.0.0\" # all\n",
        "port: 8080 # web\ndebug: True\ncache_dir: '/models/cache'\nworker_name: it's\nhost: 0.0.0.0\n",
    ],
)
def test_a_hand_made_file_is_read_as_yaml_reads_it(text: str) -> None:
    assert config_file.parse(text) == config_file.ConfigFile(yaml.safe_load(text), own_form=False)


def test_the_diff_shows_settings_and_hides_secrets() -> None:
    present = plan(
        None,
        {
            "port": 80,
            "database_url": "postgresql://gpustack:hunter2@db/gpustack",
            "tools_download_base_url": "https://user:hunter2@mirror/tools",
            "allow_credentials": False,
            "resources": {"registry": {"password": "hunter2", "user": "me"}},
        },
        {"token": "hunter2", "jwt_secret_key": "same", "oidc_client_secret": "gone"},
    ).text
    planned = plan(
        present,
        {
            "port": 8080,
            "database_url": "postgresql://gpustack:hunter3@db/gpustack",
            "tools_download_base_url": "https://user:hunter3@mirror/tools",
            "allow_credentials": True,
            "resources": {"registry": {"password": "hunter3", "user": "me"}},
        },
        {"token": "hunter3", "jwt_secret_key": "same", "hf": "new"},
    )
    assert planned.before.splitlines() == [
        "allow_credentials: false",
        "database_url: ***",
        "jwt_secret_key: ***",
        "oidc_client_secret: ***",
        "port: 80",
        'resources: {"registry": {"password": "***", "user": "me"}}',
        "token: ***",
        'tools_download_base_url: "https://***@mirror/tools"',
    ]
    assert planned.after.splitlines() == [
        "allow_credentials: true",
        "database_url: *** (changed)",
        "hf: ***",
        "jwt_secret_key: ***",
        "port: 8080",
        'resources: {"registry": {"password": "***", "user": "me"}} (changed)',
        "token: *** (changed)",
        'tools_download_base_url: "https://***@mirror/tools" (changed)',
    ]


def test_one_setting_in_both_places_is_refused() -> None:
    with pytest.raises(config_file.ConfigError, match=r"\Atoken is given in both config and secrets; "):
        plan(None, {"token": "a"}, {"token": "b"})


@pytest.mark.parametrize("key", ["two words", "", "a\nb", "a: b", "#a", "7"])
def test_a_name_that_would_break_the_file_is_refused(key: str) -> None:
    with pytest.raises(config_file.ConfigError, match="is no name of a GPUStack setting; "):
        plan(None, {key: 1})


def run_module(check: bool = False, **params: Any) -> dict[str, Any]:
    """The module as Ansible runs it: a process of its own that reads its arguments and prints one JSON result."""
    arguments = {"ANSIBLE_MODULE_ARGS": {**params, "_ansible_check_mode": check, "_ansible_diff": True}}
    program = (
        f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); import conftest, os;"
        "from ansible_collections.ascend.gpustack.plugins.modules import gpustack_config;"
        "gpustack_config.main((os.getuid(), os.getgid()))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(arguments),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert process.stdout, process.stderr
    return json.loads(process.stdout)


def access(path: pathlib.Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def test_the_file_and_its_directory_are_for_their_owner_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "gpustack" / "config.yaml"
    result = run_module(path=str(path), config={"port": 8080}, secrets={"token": TOKEN})
    assert yaml.safe_load(path.read_text()) == {"port": 8080, "token": TOKEN}
    assert (access(path), access(path.parent), os.listdir(path.parent)) == ("0600", "0700", ["config.yaml"])
    assert (result["changed"], result["changed_keys"]) == (True, ["port", "token"])
    assert result["mtime"] == path.stat().st_mtime
    assert TOKEN not in json.dumps(result)


def test_a_second_run_changes_nothing_and_keeps_the_time(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    given = {"path": str(path), "config": {"port": 8080}, "secrets": {"token": TOKEN}}
    run_module(**given)
    before = path.stat()
    result = run_module(**given)
    assert (result["changed"], result["changed_keys"], result["mtime"]) == (False, [], before.st_mtime)
    assert path.stat().st_ino == before.st_ino


def test_a_readable_file_is_closed_without_counting_as_rewritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    given = {"path": str(path), "config": {"port": 8080}}
    run_module(**given)
    path.chmod(0o644)
    before = path.stat().st_mtime
    result = run_module(**given)
    assert (access(path), result["changed"], result["mtime"]) == ("0600", True, before)
    assert result["diff"]["before"].startswith("# mode 0644, ")
    assert result["diff"]["after"].startswith("# mode 0600, ")


def test_a_readable_file_is_closed_when_it_is_rewritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("port: 80\n")
    path.chmod(0o666)
    run_module(path=str(path), config={"port": 8080})
    assert access(path) == "0600"


def test_what_a_killed_run_left_does_not_stay(tmp_path: pathlib.Path) -> None:
    left = tmp_path / ".config.yaml.new"
    left.write_text("token: " + "x" * 1000)
    left.chmod(0o644)
    run_module(path=str(tmp_path / "config.yaml"), config={"port": 8080})
    assert os.listdir(tmp_path) == ["config.yaml"]
    assert access(tmp_path / "config.yaml") == "0600"


def test_check_mode_shows_and_writes_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "gpustack" / "config.yaml"
    result = run_module(check=True, path=str(path), config={"port": 8080}, secrets={"token": TOKEN})
    assert (result["changed"], result["mtime"], os.listdir(tmp_path)) == (True, None, [])
    assert result["diff"] == {
        "before_header": str(path),
        "after_header": str(path),
        "before": "",
        "after": "port: 8080\ntoken: ***\n",
    }


def test_a_kept_token_is_in_no_output(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    run_module(path=str(path), config={}, secrets={"token": TOKEN})
    result = run_module(path=str(path), config={"port": 1}, keep=["token"])
    assert yaml.safe_load(path.read_text()) == {"port": 1, "token": TOKEN}
    assert TOKEN not in json.dumps(result)


def test_a_token_is_made_once_and_is_in_no_output(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    given = {"path": str(path), "config": {"port": 1}, "keep": ["token"], "make": ["token"]}
    made = run_module(**given)
    token = yaml.safe_load(path.read_text())["token"]
    assert re.fullmatch("[0-9a-f]{32}", token) and made["made"] == ["token"] and made["changed_keys"] == ["port", "token"]
    # The run that made it may have been killed at any time since.
    again = run_module(**given)
    assert (again["changed"], again["made"], yaml.safe_load(path.read_text())["token"]) == (False, [], token)
    assert token not in json.dumps([made, again])
    path.unlink()
    run_module(**given)
    assert yaml.safe_load(path.read_text())["token"] != token


def test_no_token_is_made_in_check_mode_nor_where_one_is_given(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    given = {"path": str(path), "config": {"port": 1}, "make": ["token"]}
    check = run_module(check=True, **given)
    assert (check["made"], check["diff"]["after"], path.exists()) == (["token"], "port: 1\ntoken: ***\n", False)
    assert run_module(**given, secrets={"token": TOKEN})["made"] == []
    assert yaml.safe_load(path.read_text())["token"] == TOKEN


def test_a_secret_among_the_plain_settings_is_in_no_output(tmp_path: pathlib.Path) -> None:
    config = {"bootstrap_password": "Hunter2!Hunter2!", "resources": {"registry": {"password": "Hunter3!"}}}
    result = run_module(path=str(tmp_path / "config.yaml"), config=config)
    assert "Hunter" not in json.dumps(result)


def test_a_directory_that_docker_made_in_the_file_s_place_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.mkdir()
    assert run_module(path=str(path), config={})["msg"] == (
        f"{path} is a directory; expected a file (Docker makes a directory when a container mounts a file that isn't"
        f" there). Remove it: rmdir {path}."
    )


def test_files_beside_it_are_for_their_owner_alone_and_never_shown(tmp_path: pathlib.Path) -> None:
    path, key, live = tmp_path / "config.yaml", tmp_path / "managed/tls/server.key", tmp_path / "managed/version.info"
    files = [{"path": str(key), "content": "-----BEGIN\nhunter2\n"}, {"path": str(live), "content": "Version=9.1\n", "restart": False}]
    given = {"path": str(path), "config": {"port": 8080}}
    check = run_module(check=True, **given, files=files)
    assert (check["changed"], check["changed_keys"], key.exists()) == (True, ["port", str(key)], False)
    result = run_module(**given, files=files)
    assert (key.read_text(), access(key), access(key.parent), access(key.parent.parent)) == (files[0]["content"], "0600", "0700", "0700")
    assert result["changed_keys"] == ["port", str(key)]
    assert result["diff"]["after"] == f"port: 8080\n# {key}: as given\n# {live}: as given\n"
    assert "hunter2" not in json.dumps(result)
    again = run_module(**given, files=files)
    assert (again["changed"], again["changed_keys"]) == (False, [])


def test_a_renewed_key_counts_and_a_file_that_is_read_anew_does_not(tmp_path: pathlib.Path) -> None:
    path, key, live = tmp_path / "config.yaml", tmp_path / "server.key", tmp_path / "version.info"
    given = {"path": str(path), "config": {"port": 8080}}

    def run(one: str, other: str) -> dict[str, Any]:
        return run_module(**given, files=[{"path": str(key), "content": one}, {"path": str(live), "content": other, "restart": False}])

    before = run("a\n", "1\n")["mtime"]
    os.utime(path, (before - 100, before - 100))
    os.utime(key, (before - 50, before - 50))
    changed = run("a\n", "2\n")
    assert (changed["changed"], changed["changed_keys"], changed["mtime"]) == (True, [], key.stat().st_mtime)
    renewed = run("b\n", "2\n")
    assert (renewed["changed_keys"], renewed["mtime"]) == ([str(key)], key.stat().st_mtime)
    assert renewed["mtime"] > before - 50
    gone = run("", "")
    assert (gone["changed_keys"], sorted(os.listdir(tmp_path))) == ([str(key)], ["config.yaml"])
    assert f"# {key}: absent" in gone["diff"]["after"]


def test_a_key_that_others_may_read_is_closed(tmp_path: pathlib.Path) -> None:
    path, key = tmp_path / "config.yaml", tmp_path / "server.key"
    given = {"path": str(path), "config": {}, "files": [{"path": str(key), "content": "a\n"}]}
    run_module(**given)
    key.chmod(0o644)
    before = key.stat().st_mtime
    result = run_module(**given)
    assert (access(key), result["changed"], result["changed_keys"]) == ("0600", True, [])
    # By its time a server would be started again.
    assert key.stat().st_mtime == before
