"""No printer there is lets a secret through, and none hides what is no secret. What a printer is, PRINTERS says: a function that puts
one text wherever the printer takes texts from, and returns all that it prints."""

from __future__ import annotations

import json
import re
import time

import pytest
import yaml
from ansible_collections.ascend.gpustack.plugins.filter import container as container_filter
from ansible_collections.ascend.gpustack.plugins.filter import image as image_filter
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import api as docker_api
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import images as docker_images
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file, token, v0_7
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import container as gpustack_container_of
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover import analysis, extras, old
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import stack as swarm_stack
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import tasks as swarm_tasks
from ansible_collections.ascend.gpustack.plugins.modules import docker_npu_resource, gpustack_container
from ansible_collections.ascend.gpustack.plugins.plugin_utils import images, node, plan, rules, texts
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import connections, finding
from shared import PAGES, ROOT

S = "S3cr3tPart"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{S}\n-----END RSA PRIVATE KEY-----"
SECRET = [
    f"HTTPS_PROXY=http://pruser:{S}@proxy.example.com:3128",
    f"http_proxy=pruser:{S}@proxy.example.com:3128",
    f"HF_ENDPOINT=https://{S}@mirror.example.com/hf",
    f"INDEXES=https://a:{S}@x/1,https://b:{S}@y/2",
    f"ALL_PROXY=http://pruser:pa/{S}@ss@proxy:3128",
    *(f"{name}={S}" for name in ("DB_PASS", "MYSQL_PWD", "APIKEY", "SSH_PASSPHRASE", "AUTH", "HF_TOKEN", "OPENAI_API_KEY")),
    f"GPUSTACK_DATABASE_URL=postgresql://gpustack:{S}@db/gpustack",
    f"-t {S}",
    f"-t{S}",
    f"--token={S}",
    f"--token {S}",
    f"--huggingface-token={S} --debug",
    f"gpustack start --port 80 -t {S}",
    f"Authorization: Bearer {S}",
    f'{{"auths": {{"registry": {{"password": "{S}"}}}}}}',
    f"splunk-token={S}",
    PEM,
]
PLAIN = "MAX_TOKENS=4096"


def runner(result: Result):
    return lambda argv, timeout, stdin=None: result


def lines_of(before: dict, after: dict) -> str:
    return "\n".join(plan.container_changes({"before": before, "after": after}))


def words(text: str) -> list[str]:
    """A command line with the text in it: its own words where it is one, and else a word."""
    return text.split(" ") if text.startswith(("-t", "--t", "--h", "gpustack")) else ["--saml-sp-x509-cert", text]


def service(text: str) -> dict:
    compose = {"services": {"qwen": {"image": "vllm", "command": words(text), "deploy": {"labels": {"x": text}}}}}
    compose["services"]["qwen"]["environment"] = dict([entry(text).partition("=")[::2]])
    compose["services"]["qwen"]["healthcheck"] = {"test": ["CMD-SHELL", text]}
    return swarm_stack.wanted(compose)


def entry(text: str) -> str:
    """What is no variable is the value of one that may hold anything."""
    return text if re.match(r"[A-Za-z_]+=", text) else f"SETTINGS={text}"


def daemon_diff(text: str) -> str:
    name, _equals, value = entry(text).partition("=")
    return json.dumps(docker_npu_resource.difference("daemon.json", json.dumps({"log-opts": {name: value}}, indent=2), ""))


def taken_over(text: str) -> str:
    name, _equals, value = entry(text).partition("=")
    config = {
        "Cmd": ["--server-url", text, *words(text)],
        "Env": [entry(text)],
        "Labels": {name: value},
        "Entrypoint": ["bash", "-c", text],
    }
    host = {"NetworkMode": "host", "LogConfig": {"Type": "splunk", "Config": {name: value}}}
    container = {
        "Id": "a" * 64,
        "Name": "/gpustack",
        "Config": config,
        "HostConfig": host,
        "Image": "sha256:1",
        "State": {"Status": "exited"},
    }
    failing = runner(Result(1, "", f"Error response from daemon: {text}"))
    found = old.read_old(failing, container, {"Config": {"Env": []}}, docker_run.EngineDefaults(), 1, 1)
    desired = old.Desired("worker", "gpustack-data", "/data/models", "0.7.1", "http://atlas1:8080")
    return json.dumps(analysis.analyse(found, desired))


def taken_over_file(text: str) -> str:
    name, _equals, value = entry(text).partition("=")
    settings = gpustack_container_of.of_file(f"{name.lower()}: {json.dumps(value)}\nray_args: {json.dumps([text])}")
    of = old.Old({}, {}, settings, {}, config_path="x")
    return "".join(extras._typed(of, setting) for setting in settings.values())


def judged(text: str) -> str:
    """An environment whose values are lists, and a text that no variable takes."""
    name, _equals, value = entry(text).partition("=")
    environment = {"is": "dict", "names": "variable", "of": {"is": "number", "from": 5000, "to": 6000}, "secret": True}
    wrong = [*rules.judge({name: value}, environment), *rules.judge(text, {"is": "host"})]
    return "".join(each.found for each in wrong)


def waited_for(text: str) -> str:
    """The log of a container that has ended, whose last words are told."""
    state = {"Status": "exited", "ExitCode": 1, "Error": text}
    found = gpustack_container.why(runner(Result(0, f"INFO {text}\nERROR {text}\n", "")), "gpustack", {"Id": "1", "State": state}, {})
    quiet = gpustack_container.why(
        runner(Result(0, f"INFO {text}\nERROR {text}\n", "")), "gpustack", {"Id": "1", "State": {**state, "Error": ""}}, {}
    )
    return json.dumps([found, quiet])


def failed(text: str) -> str:
    what = {"host": "atlas1", "container": "gpustack", "role": "server", "wait": 300, "python": "", "data_volume": "d", "backup_dir": "b"}
    result = {"kind": "ended", "detail": f"its last words: {text}", "log": text}
    return container_filter.run_failure(result, what, {}) + container_filter.cause(result, what)


def image_told(text: str) -> str:
    progress = docker_images.Progress()
    progress.take({"error": text})
    lacking = {"lacks": ["gpustack:v"], "version": "0.7.1"}
    archive = {"path": "/a.tar", "exists": False, "images": {}, "error": text}
    asked = {"available": False, "registry": "", "error": text, "kind": "network", "architectures": []}
    return "".join(
        [
            str(progress.error),
            *images.problems(["gpustack:v"], lacking, [], {"images": {"gpustack:v": asked}}),
            *images.problems(["gpustack:v"], lacking, [{"where": "atlas1", "msg": text}], {}),
            *images.problems(["gpustack:v"], lacking, [{"where": "", "archives": [archive]}], {}),
            *image_filter.stack_image_problems(["vllm"], [{"msg": text}]),
            images.failure({"error": text}, "atlas1", "gpustack:v", ""),
        ]
    )


def configured(text: str) -> str:
    name, _equals, value = entry(text).partition("=")
    config = {"tools_download_base_url": text, "ray_args": words(text), "resources": {name: value}}
    config = {**config, name.lower(): value} if name != "SETTINGS" else config
    made = config_file.plan(None, config, {}, [])
    removed = config_file.plan(made.text, {}, {}, [])
    return made.before + made.after + removed.before + removed.after


PRINTERS = {
    "plan: environment comes": lambda text: lines_of({"env": []}, {"env": [entry(text)]}),
    "plan: environment goes": lambda text: lines_of({"env": [entry(text)]}, {"env": []}),
    "plan: environment without one": lambda text: lines_of({"env": None}, {"env": [entry(text)]}),
    "plan: command": lambda text: lines_of({"command": words(text)}, {"command": []}),
    "plan: entry point": lambda text: lines_of({"entrypoint": ["bash", "-c", text]}, {"entrypoint": None}),
    "plan: label": lambda text: lines_of({"labels": {"a.b": text}}, {"labels": {}}),
    "plan: label of the options": lambda text: lines_of(
        {"labels": {"options": json.dumps({"log": dict([entry(text).split("=", 1)])})}}, {"labels": {}}
    ),
    "plan: log options": lambda text: lines_of({"log_options": dict([entry(text).split("=", 1)])}, {"log_options": None}),
    "plan: list": lambda text: lines_of({"security_opts": [text]}, {"security_opts": []}),
    "plan: health check": lambda text: lines_of({"healthcheck": {"test": ["CMD-SHELL", text]}}, {"healthcheck": None}),
    "configuration file": configured,
    "takeover": taken_over,
    "takeover: configuration file": taken_over_file,
    "takeover: option": lambda text: docker_run.Option("--log-opt", [text, entry(text)]).text,
    "stack: before": lambda text: swarm_stack.as_text(service(text), {}),
    "stack: after": lambda text: swarm_stack.as_text(service(text), service("X=1")),
    "stack: task": lambda text: swarm_tasks._sentence("atlas1", "service qwen ended", text, "vllm_qwen"),
    "variables: text": texts.quoted,
    "variables: value": lambda text: rules.found(text, False),
    "variables: judged": judged,
    "daemon.json": daemon_diff,
    "daemon.json: refused": lambda text: str(
        docker_npu_resource.validate(runner(Result(1, "", f"dockerd: {text}")), "draft", "daemon.json", 1)
    ),
    "docker": lambda text: docker_cli.why(["docker", "info"], Result(1, "", text.replace("\n", "\\n")), 1),
    "docker: labels": lambda text: json.dumps(docker_cli.summary({"Config": {"Labels": {"ascend.gpustack.options": text}}})),
    "engine": lambda text: str(docker_api.ApiError(text, 500)),
    "image": image_told,
    "connection": lambda text: str(connections.connection_problem(text, False)),
    "module that failed": lambda text: finding.failure({"module_stderr": f"Traceback\nValueError: {text}"}),
    "container": failed,
    "container: log": waited_for,
    "GPUStack's API": lambda text: str(gpustack_api.ApiError("network", text)),
    "token": lambda text: str(token.TokenError("token_not_there", text)) + str(gpustack_container_of.ReadError("unreadable", text, "x")),
}
# These show nothing of what may be anything, and nothing but the last line.
NOT_SHOWN = {"variables: judged"}


@pytest.mark.parametrize("printer", PRINTERS)
@pytest.mark.parametrize("text", SECRET, ids=range(len(SECRET)))
def test_secret_is_printed_nowhere(printer, text):
    assert S not in PRINTERS[printer](text)


@pytest.mark.parametrize("printer", PRINTERS)
def test_what_is_no_secret_is_printed(printer):
    assert "4096" in PRINTERS[printer](PLAIN) or printer in NOT_SHOWN


def test_no_other_file_hides_by_rules_of_its_own():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
        if path != ROOT / "plugins/module_utils/redact.py"
        for line in path.read_text().splitlines()
        if re.search(r"""HIDDEN\s*=|["']\*{3,}["']|://[^\s"']*\*{3}@|://\S*\[\^[^\]]*\][*+]?\)?\S*@""", line)
        or re.search(r"""re\.compile\(.*(?:passw|secret|token\|)""", line)
    ]
    assert found == []


@pytest.mark.parametrize("path", [ROOT / "docs" / language / "security.md" for language in PAGES], ids=lambda path: path.parent.name)
def test_variables_shown_with_their_values_are_published(path):
    (published,) = [part for part in path.read_text().split("\n\n") if part.startswith("`TZ`")]
    assert re.findall(r"`([^`]+)`", published) == list(redact.HARMLESS)


@pytest.mark.parametrize("name", ["TZ", "MAX_TOKENS", "NO_PROXY", "no_proxy", "LC_ALL", "ASCEND_VISIBLE_DEVICES", "HCCL_IF_IP"])
def test_published_variable_is_shown(name):
    assert redact.variable(name, "4096") == "4096"


@pytest.mark.parametrize("name", ["SETTINGS", "PASSWD", "ASCEND_TOKEN", "HCCL_KEY", "VLLM_API_KEY", "GPUSTACK_TOKEN", "tz", "MAX_TOKENS2"])
def test_any_other_variable_is_not(name):
    assert redact.variable(name, "4096") == "***"


def test_address_among_them_is_shown_without_its_login_whatever_that_is_made_of():
    for login in ("op:pass", "op:pa@ss", "op:pa/ss", 'op:pa"ss', "op:p ss", "pass"):
        assert redact.variable("HTTPS_PROXY", f"http://{login}@10.0.0.1:3128/x") == "http://***@10.0.0.1:3128/x"
    assert redact.variable("http_proxy", "op:pass@10.0.0.1:3128") == "***@10.0.0.1:3128"
    assert redact.variable("HF_ENDPOINT", f"https://mirror.example.com/?token={S}") == "https://mirror.example.com/?token=***"


PLAIN_TEXTS = [
    "--max-num-batched-tokens 8192 --tokenizer-mode slow --max-tokens=4096",
    "NPU 5 health is Alarm (npu-smi info -t health -i 5 -c 0)",
    "mount -t nfs 172.16.33.106:/data/models /data/models",
    "iptables --wait 5 -t nat -S DOCKER",
    "Set it everywhere: hccn_tool -i N -tls -s enable 1",
    "image haproxy:2.6@sha256:0123 of https://registry.example.com/library/haproxy@sha256:0123",
    "root@10.0.0.9: Permission denied (publickey,password).",
    "Give it with --ask-become-pass or as ansible_become_password, or let ansible_user use sudo without one (NOPASSWD).",
    "the cluster token of the container gpustack is malformed (its --token: it has white space in it); expected a text",
    "http://172.16.33.106:8080/v2 and http://[fe80::1]:80",
    "token: <known once the server runs>",
    '{"shm_size": "2g", "log_options": {"max-size": "50m", "max-file": "3"}, "ulimits": ["nofile:65535:65535"]}',
    "2026-11-27 16:31:19.430156+08:00 - gpustack.worker.worker - ERROR - Error serving worker APIs: Invalid authentication credentials",
    "gpustack_token is set to a text that is not shown; expected a token without white space",
    "TOKEN=*** --token *** -t *** http://***@proxy:3128",
    "",
]


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_text_without_a_secret_stays_as_it_is(text):
    assert redact.text(text) == text


@pytest.mark.parametrize("path", [page for pages in PAGES.values() for page in pages], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_messages_that_the_documentation_quotes_are_not_torn(path):
    quoted = [text for row in re.findall(r"^\|.*\|$", path.read_text(), re.M) for text in re.findall(r"`([^`]+)`", row)]
    assert [text for text in quoted if redact.text(text) != text] == []


@pytest.mark.parametrize("text", SECRET, ids=range(len(SECRET)))
def test_what_is_hidden_once_stays_as_it_is(text):
    assert redact.text(redact.text(f"a {text} b")) == redact.text(f"a {text} b")


def test_changed_secret_is_said_to_have_changed():
    before, after = ({"env": [f"DB_PASS={each}", "TZ=UTC", "A=1"], "labels": {"token": each}, "command": ["-t", each]} for each in "xy")
    assert plan.container_changes({"before": before, "after": after}) == [
        'command: ["-t", "***"] -> ["-t", "***"] (changed)',
        "env: DB_PASS changed",
        "labels: token changed",
    ]
    assert plan.container_changes({"before": {"env": None}, "after": {"env": []}}) == ["env: changed"]
    stacks = [swarm_stack.as_text(service(f"--token={each}"), {}) for each in "xy"]
    assert stacks[0] == stacks[1]
    after = swarm_stack.as_text(service("--token=y"), service("--token=x"))
    assert '"(changed)"' in after and '"SETTINGS": "*** (changed)"' in after and '"x": "--token=*** (changed)"' in after


def test_log_of_a_container_is_quoted_without_what_it_was_given():
    config = {"Env": ["DB_PASS=hunter2hunter2", "TZ=Asia/Shanghai"], "Cmd": ["-t", "opensesame"]}
    log = "connecting as root with hunter2hunter2, in Asia/Shanghai\nERROR - opensesame is refused"
    container = {"Id": "1", "Config": config, "State": {"Status": "exited", "ExitCode": 1}}
    found = gpustack_container.why(runner(Result(0, log, "")), "gpustack", container, {})
    assert found["log"] == "connecting as root with ***, in Asia/Shanghai\nERROR - *** is refused"
    assert found["detail"].endswith("its last words: ERROR - *** is refused")


def test_secret_settings_go_into_the_file_as_ever():
    names = v0_7.COMMAND_LINE.settings | v0_7.COMMAND_LINE.file_only
    before = re.compile(r"token|passw|secret|credential|private|(?:\A|[_-])key\Z|\Adatabase_url\Z", re.IGNORECASE)
    assert {name for name in names if redact.looks_secret(name)} == {name for name in names if before.search(name)} - {"allow_credentials"}


OPTIONS = {"shm_size": "2g", "log_driver": "splunk", "ulimits": ["nofile:65535:65535"], "etc_hosts": {"token.example.com": "10.0.0.1"}}
LOG_OPTIONS = [
    {"splunk-token": S},
    {"splunk-url": f"https://splunk:{S}@splunk.example.com"},
    {"loki-url": f"https://42:{S}@loki.example.com/push", "max-size": "50m"},
]


@pytest.mark.parametrize("given", LOG_OPTIONS)
def test_label_changes_with_a_secret_and_does_not_tell_it(given):
    name = next(iter(given))
    labels = [
        node.labelled_options({**OPTIONS, "log_options": each}, "gpustack") for each in (given, given, {**given, name: f"{given[name]}2"})
    ]
    assert labels[0] == labels[1] != labels[2]
    assert S not in json.dumps(labels) and {**labels[0], "log_options": None} == {**OPTIONS, "log_options": None}
    assert labels[0]["log_options"].get("max-size") == given.get("max-size")
    assert node.labelled_options({**OPTIONS, "log_options": given}, "other") != labels[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        OPTIONS,
        {"log_options": {"max-size": "50m", "max-file": 3, "tag": "{{.Name}}", "syslog-tls-key": "/etc/ssl/key.pem"}, "privileged": True},
        {"log_options": {"gelf-address": "udp://10.0.0.9:12201", "env": "TZ,LANG", "labels-regex": "^(a|b)"}, "dns_servers": ["10.0.0.53"]},
        {"security_opts": ["seccomp=unconfined", "label=disable"], "capabilities": ["SYS_PTRACE"], "memory": "6g", "cpuset_cpus": "0-3,8"},
    ],
)
def test_label_of_options_without_a_secret_is_what_it_always_was(options):
    assert node.labelled_options(options, "gpustack") is options


def test_label_is_made_by_the_same_filter_as_ever():
    label = yaml.safe_load((ROOT / "roles/gpustack/vars/main.yml").read_text())["_gpustack_container"]["labels"]["ascend.gpustack.options"]
    assert label == "{{ gpustack_container_options | ascend.gpustack.labelled_options(gpustack_container_name) | to_json(sort_keys=true) }}"


def test_secret_in_a_setting_is_known_to_be_kept_out_of_the_modules_arguments():
    assert redact.secrets_in({"resources": {"password": "a", "urls": ["http://me:mine@x"]}, "debug": True, "n": 1}) == {"a", "me:mine"}
    assert redact.secrets_of(["start", "-t", "opensesame", "--token=opensesame2"], {"A_KEY": "12", "P": "http://me:mine12@x"}) == {
        "opensesame",
        "opensesame2",
        "me:mine12",
    }


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "a-",
        "a=",
        "a,",
        "a:b,",
        '"a":[',
        '"a":{"',
        "-t ",
        "-ta",
        "://",
        "://a@",
        "x-",
        "eyJ-",
        "--a ",
        "a" * 20 + " ",
        "'",
        "-----BEGIN A-----",
        "token:",
    ],
)
def test_long_text_of_any_kind_takes_no_time(part):
    began = time.process_time()
    redact.text(part * (65536 // len(part)) + "!")
    assert time.process_time() - began < 3
