"""A certificate that no worker would trust, or whose key is another's, is told before anything is changed; a key is never shown."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import certificates
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import Play
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.timezone.utc)
YEAR = datetime.timedelta(days=365)
Pair = tuple[Any, Any]


def made(name: str, by: Pair | None = None, names: tuple[str, ...] = (), ends: datetime.datetime = NOW + YEAR, **more: Any) -> Pair:
    """A certificate, signed by another or by itself, and its key."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = (by[0].subject, by[1]) if by else (subject, key)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), more.get("begins", NOW - YEAR), ends)
    if names:
        listed = [x509.IPAddress(ipaddress.ip_address(each)) if each[0].isdigit() else x509.DNSName(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), False)
    else:
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    return builder.sign(signer, hashes.SHA256()), key


def pem(*certs: Any) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certs)


def private(key: Any, password: bytes | None = None) -> str:
    way = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, way).decode()


ROOT = made("Lab root")
BETWEEN = made("Lab between", ROOT)
LEAF = made("gpustack", BETWEEN, ("gpustack.example.com", "*.lab.example.com", "172.16.33.106"))


def told(certificate: str, ca: str = "", server: str = "gpustack.example.com", now: datetime.datetime = NOW) -> list[tuple[str, str]]:
    return [(item.result, item.message) for item in certificates.findings(certificate, ca, server, now) if item.result != "pass"]


def test_a_pair_that_fits_is_no_problem():
    assert certificates.pair_problems("", "", "") == []
    assert certificates.pair_problems(pem(LEAF[0], BETWEEN[0]), private(LEAF[1]), pem(ROOT[0])) == []


def test_a_key_of_another_certificate_is_refused_before_a_server_is_started_with_it():
    (found,) = certificates.pair_problems(pem(LEAF[0]), private(ROOT[1]), "")
    assert found.message == "gpustack_tls_key is not the key of gpustack_tls_certificate, the first one in that; expected the pair"
    # In the wrong order
    assert len(certificates.pair_problems(pem(BETWEEN[0], LEAF[0]), private(LEAF[1]), "")) == 1


@pytest.mark.parametrize(
    ("certificate", "key", "first", "other"), [(True, False, "certificate", "key"), (False, True, "key", "certificate")]
)
def test_one_without_the_other_is_refused(certificate, key, first, other):
    (found,) = certificates.pair_problems(pem(LEAF[0]) * certificate, private(LEAF[1]) * key, "")
    assert (
        found.sentence
        == f"gpustack_tls_{first} is set without gpustack_tls_{other}; expected both or neither. Set gpustack_tls_{other}, too."
    )


def test_what_is_damaged_is_named_and_not_shown():
    broken = private(LEAF[1])[:60] + private(LEAF[1])[70:]
    found = certificates.pair_problems(pem(LEAF[0])[:70] + pem(LEAF[0])[90:], broken, "")
    assert [item.message for item in found] == [
        "gpustack_tls_certificate can't be read (a certificate in it is damaged); expected PEM",
        "gpustack_tls_key can't be read (it is damaged, or has a password); expected PEM",
    ]
    assert not any(line in item.sentence for item in found for line in broken.splitlines() if len(line) > 20)


def test_a_certificate_that_workers_trust_passes():
    full = pem(LEAF[0], BETWEEN[0])
    for server in ("gpustack.example.com", "GPUSTACK.example.com", "a.lab.example.com", "172.16.33.106"):
        assert told(full, pem(ROOT[0]), server) == []
    # One of a public authority, of which nothing is known here
    assert told(full) == told(pem(LEAF[0])) == told("") == []


def test_a_certificate_that_ends_within_30_days_is_warned_of():
    ending = made("gpustack", ROOT, ("gpustack.example.com",), NOW + datetime.timedelta(days=12, hours=1))[0]
    assert told(pem(ending), pem(ROOT[0])) == [
        ("warn", "gpustack_tls_certificate (gpustack) ends on 2026-12-09, in 12 days; expected 30 at least"),
    ]
    assert told(pem(ending), pem(ROOT[0]), now=NOW + datetime.timedelta(days=13)) == [
        ("fail", "gpustack_tls_certificate (gpustack) has ended on 2026-12-09; expected one that is valid"),
    ]
    (ca,) = told(pem(LEAF[0], BETWEEN[0]), pem(ROOT[0], made("Old root", ends=NOW + datetime.timedelta(days=1))[0]))
    assert ca == ("warn", "gpustack_tls_ca (Old root) ends on 2026-11-28, in 1 day; expected 30 at least")
    later = made("gpustack", ROOT, ("gpustack.example.com",), begins=NOW + datetime.timedelta(hours=2))[0]
    assert (
        told(pem(later), pem(ROOT[0]))[0][1]
        == "gpustack_tls_certificate (gpustack) begins on 2026-11-27 14:00 UTC; expected one that is valid"
    )


@pytest.mark.parametrize("server", ["172.16.33.107", "other.example.com", "a.b.lab.example.com", "lab.example.com"])
def test_a_certificate_that_does_not_name_the_server_is_refused(server):
    assert told(pem(LEAF[0], BETWEEN[0]), pem(ROOT[0]), server) == [
        (
            "fail",
            "gpustack_tls_certificate names gpustack.example.com, *.lab.example.com, 172.16.33.106; "
            f"expected {server}, where workers ask the server",
        )
    ]


def test_a_certificate_that_no_worker_could_trust_is_refused():
    alone = made("gpustack", None, ("gpustack.example.com",))[0]
    (found,) = told(pem(alone))
    assert found == ("fail", "gpustack_tls_certificate is signed by CN=gpustack itself, which no worker knows; expected an authority")
    assert told(pem(alone), pem(alone)) == []
    (found,) = told(pem(LEAF[0], BETWEEN[0]), pem(made("Lab root")[0]))
    assert found == ("fail", "gpustack_tls_certificate is signed by CN=Lab root, which is not in gpustack_tls_ca; expected it there")
    # The one between is missing.
    assert "is signed by CN=Lab between, which is not in gpustack_tls_ca" in told(pem(LEAF[0]), pem(ROOT[0]))[0][1]


def test_preflight_judges_the_server_s_where_workers_ask_it():
    values = {"gpustack_tls_certificate": pem(LEAF[0], BETWEEN[0]), "gpustack_tls_ca": pem(ROOT[0]), "ansible_host": "172.16.33.107"}
    groups = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"]}

    def results(**more: Any) -> list[tuple[str, str]]:
        play = Play(["atlas1", "atlas2"], {"atlas1": {**values, **more}}, groups, {"cluster": "gpustack"})
        return [(host, item.check) for host, item in certificates.CHECKS.run(play) if item.result == "fail" and "names" in item.message]

    assert results() == [("atlas1", "tls")]
    assert results(gpustack_address="172.16.33.106") == results(gpustack_server_url="https://gpustack.example.com:8080") == []
    assert results(gpustack_tls_certificate="") == []


def test_without_cryptography_preflight_says_that_it_cannot_judge(monkeypatch):
    monkeypatch.setattr(certificates, "x509", None)
    assert told(pem(LEAF[0]))[0][0] == "warn"
    assert certificates.pair_problems(pem(LEAF[0]), private(ROOT[1]), "") == []
