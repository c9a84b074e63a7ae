# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway before vLLM: settings of HAProxy, made of the services and the hosts that they run on. Documented in its .yml."""

from __future__ import annotations

import json
import re

from ansible.errors import AnsibleFilterError

KEYS = "/run/secrets/gateway_api_key"  # a line for each value that the header Authorization may have
CERTIFICATE = "/run/secrets/gateway_tls"  # PEM: certificates, then the key

# What needs no quotes in HAProxy's settings, and is no option there.
MODEL = re.compile(r"[A-Za-z0-9/._][A-Za-z0-9/._:@+-]*")
NAME = re.compile(r"[A-Za-z0-9_.:-]+")

HEADER_BYTES = 65536  # of the one buffer that has to take a whole request
CONNECTIONS = 2000  # of clients; a copy of each unanswered request is kept, a buffer large
STATISTICS_CONNECTIONS = 100  # those come on top, so that clients who take all do not hide what they do
THREADS = 4  # each has buffers of its own, and on large hosts there would be 64

# What HAProxy answers with by itself; the frontend has refusals of its own.
FAILURES = {
    400: "The request is no valid HTTP.",
    408: "The request did not arrive in time.",
    500: "The gateway failed.",
    502: "No valid answer came from the servers of the model that were tried.",
    503: "No server of the model answers.",
    504: "The server of the model did not answer in time.",
}

GLOBAL = """\
global
    log stdout format raw daemon
    nbthread {threads}
    maxconn {connections}
    tune.bufsize {buffer}
"""

# TCP finds out that a host has died without a word, and ends the connections to it; what is unanswered then counts as an empty response,
# and is sent to another one. To end them when a check has failed would do it too, but not for those that are just being made, which it
# breaks off, as it does streams of a server that is only slow to answer the check.
DEFAULTS = """\
defaults
    mode http
    log global
    option httplog
    option dontlognull
    option http-no-delay
    option abortonclose
    option srvtcpka
    srvtcpka-idle {interval}s
    srvtcpka-intvl 1s
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response 502 503 504
    timeout connect 3s
    timeout http-request 10s
    timeout http-keep-alive 1m
    timeout client 1h
    timeout server 1h
    timeout check {check}s
    default-server check inter {interval}s fastinter 1s fall 3 rise 2 init-addr libc,none
"""

STATISTICS = """\
frontend statistics
    bind *:{port}
    http-request set-log-level silent
.if feature(PROMEX)
    http-request use-service prometheus-exporter if {{ path /metrics }}
.endif
    stats enable
    stats uri /
    stats refresh 10s
    stats hide-version
"""


def gateway_config(services: list[dict], hosts: list[dict], settings: dict) -> str:
    """The text of haproxy.cfg, for HAProxy 2.4 and newer."""
    _check_names(services, hosts)
    models: dict[str, list[dict]] = {}
    for service in services:
        models.setdefault(service["served_name"], []).append(service)
    interval = settings["check_interval_s"]
    defaults = DEFAULTS.format(interval=interval, check=max(1, interval - 1))
    defaults += "".join(f"    http-error {_error(status, text)}\n" for status, text in FAILURES.items())
    return "\n".join(
        [
            GLOBAL.format(threads=THREADS, connections=CONNECTIONS + STATISTICS_CONNECTIONS, buffer=settings["max_body"] + HEADER_BYTES),
            defaults,
            _frontend(models, settings),
            STATISTICS.format(port=settings["stats_port"]),
            *(_backend(own, hosts, 2 * interval) for own in models.values()),
        ]
    )


def _check_names(services: list[dict], hosts: list[dict]) -> None:
    for service in services:
        _check(service["served_name"], MODEL, "a served_name", "letters, digits and / . _ : @ + -", "Correct vllm_stack_services.")
        _check(service["name"], NAME, "the name of a service", "letters, digits and . _ : -", "Correct vllm_stack_services.")
    for host in hosts:
        _check(host["name"], NAME, "a host's name", "letters, digits and . _ : -", "Give it another one in the inventory.")
        _check(host["address"], NAME, f"the address of {host['name']}", "an address or a name", "Correct gpustack_address.")


def _check(value: str, allowed: re.Pattern, what: str, expected: str, remedy: str) -> None:
    if not allowed.fullmatch(value):
        raise AnsibleFilterError(f"{what} is {value!r}, which the gateway can't take; expected {expected}. {remedy}")


def _json(status: int, content: dict) -> str:
    return f"status {status} content-type application/json string '{json.dumps(content)}'"


def _error(status: int, message: str, code: str | None = None, param: str | None = None) -> str:
    """An answer as OpenAI's API words an error."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _json(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})


def _frontend(models: dict[str, list[dict]], settings: dict) -> str:
    expected = f"expected one of the models: {', '.join(models)}"
    limit = settings["max_body"]
    no_model, unknown = f"The body is no JSON with a model; {expected}", f"The model is not served here; {expected}"
    large = f"The request body is larger than {limit} bytes, the limit of this gateway (vllm_stack_max_body)."
    too_large = f"http-request return {_error(413, large, 'request_too_large')} if {{ req.body_size gt {limit} }}"
    listed = {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "vllm"} for name in models]}
    lines = [
        f"bind *:{settings['port']}" + (f" ssl crt {CERTIFICATE} ssl-min-ver TLSv1.2 alpn http/1.1" if settings["tls"] else ""),
        f"maxconn {CONNECTIONS}",
        "monitor-uri /health",
    ]
    if settings["api_key"]:
        refusal = _error(401, "The API key is missing or wrong.", "invalid_api_key")
        lines.append(f"http-request return {refusal} hdr WWW-Authenticate Bearer unless {{ req.fhdr(authorization) -m str -f {KEYS} }}")
    lines += [
        f"http-request return {_json(200, listed)} if METH_GET {{ path /v1/models }}",
        f"http-request return {_error(404, 'Expected GET /v1/models or POST below /v1/.')} unless METH_POST {{ path_beg /v1/ }}",
        too_large,  # by the length that is announced, before the upload
        "http-request wait-for-body time 2m",
        too_large,  # of a body in chunks, whose length is not announced
        "http-request set-var(txn.model) req.body,json_query('$.model')",
        # HAProxy gives no string that has \/ in it, which is how PHP writes each slash.
        r"""http-request set-var(txn.model) 'req.body,regsub("\\\\/",/,g),json_query("$.model")' unless { var(txn.model) -m found }""",
        "http-request capture var(txn.model) len 64",
        f"http-request return {_error(400, no_model, param='model')} unless {{ var(txn.model) -m found }}",
        *(f"acl served var(txn.model) -m str {model}" for model in models),
        f"http-request return {_error(404, unknown, 'model_not_found', 'model')} unless served",
        *(f"use_backend {own[0]['name']} if {{ var(txn.model) -m str {model} }}" for model, own in models.items()),
    ]
    return "".join(f"{line}\n" for line in ["frontend gateway", *(f"    {line}" for line in lines)])


def _backend(services: list[dict], hosts: list[dict], silence: int) -> str:
    """Of one model, which several services may serve. silence: seconds without an acknowledgement that end a connection."""
    lines = ["balance leastconn", "option httpchk GET /health"]
    for service in services:
        suffix = f"-{service['name']}" if len(services) > 1 else ""
        for host in hosts:
            address = f"[{host['address']}]" if ":" in host["address"] else host["address"]
            # HAProxy 2.6 does not take tcp-ut from default-server.
            lines.append(f"server {host['name']}{suffix} {address}:{service['port']} tcp-ut {silence}s")
    return "".join(f"{line}\n" for line in [f"backend {services[0]['name']}", *(f"    {line}" for line in lines)])


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict:
        return {"gateway_config": gateway_config}
