# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a certificate, its key, the authority behind it and the name of a server fit each other, judged where Ansible runs.

By the library cryptography, which ansible-core itself needs: hosts need nothing for it, and no secret is written into a file, as Python's
ssl and the command openssl would want.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.ascend.gpustack.plugins.plugin_utils import cluster
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import Play
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
except ImportError:  # a distribution's ansible-core may come without it
    x509 = None  # type: ignore[assignment]

CHECKS = Checks()
SOON = datetime.timedelta(days=30)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
NAMES = ("gpustack_tls_certificate", "gpustack_tls_key", "gpustack_tls_ca")


class Unreadable(ValueError):
    """Why a text can't be read, as a part of a sentence; nothing of the text itself."""


def chain(text: str) -> list[Any]:
    """The certificates of a PEM text, in its order. Raises Unreadable."""
    try:
        return [x509.load_pem_x509_certificate(found.encode()) for found in _PEM.findall(text)]
    except Exception as error:  # pylint: disable=broad-except # the library has errors of its own for what is damaged
        raise Unreadable("a certificate in it is damaged") from error


def _key(text: str) -> Any:
    try:
        return serialization.load_pem_private_key(text.strip().encode(), None)
    except Exception as error:  # pylint: disable=broad-except # as above
        raise Unreadable("it is damaged, or has a password") from error


def pair_problems(certificate: str, key: str, ca: str) -> list[Finding]:
    """What keeps a server from starting with them, or a worker from reading its authorities."""
    set_alone = [name for name, text in zip(NAMES, (certificate, key)) if text]
    if len(set_alone) == 1:
        other = next(name for name in NAMES[:2] if name not in set_alone)
        return [_wrong(f"{set_alone[0]} is set without {other}; expected both or neither", f"Set {other}, too.")]
    if x509 is None:
        return []
    found: list[Finding] = []
    read: dict[str, Any] = {}
    for name, text, reader in zip(NAMES, (certificate, key, ca), (chain, _key, chain)):
        try:
            read[name] = reader(text) if text else []
        except Unreadable as error:
            found.append(_wrong(f"{name} can't be read ({error}); expected PEM", "Copy it again, whole."))
    if not found and key and _public(read[NAMES[1]].public_key()) != _public(read[NAMES[0]][0].public_key()):
        text = "gpustack_tls_key is not the key of gpustack_tls_certificate, the first one in that; expected the pair"
        found.append(_wrong(text, "Set the two that were made together, the server's certificate before those of its authorities."))
    return found


def _wrong(message: str, remedy: str) -> Finding:
    return Finding("variables", "fail", message, remedy)


def _public(key: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@CHECKS.add(tls="whether the server's certificate is valid for 30 days, names the server and is signed by an authority that workers know")
def _certificate(play: Play) -> list[tuple[str, Finding]]:
    server = cluster.first(play.groups, "gpustack_server")
    if play.settings["cluster"] != "gpustack" or server is None or server not in play.hosts:
        return []
    certificate, ca, url = (
        str(cluster.setting(play.hostvars, server, name, ""))
        for name in ("gpustack_tls_certificate", "gpustack_tls_ca", "gpustack_server_url")
    )
    asked = urlsplit(url).hostname or str(cluster.addresses([server], play.hostvars)[0])
    found = findings(certificate, ca, asked, datetime.datetime.now(datetime.timezone.utc))
    return [(server, item) for item in found]


def findings(certificate: str, ca: str, server: str, now: datetime.datetime) -> list[Finding]:
    """What workers, or time, have against a certificate whose key fits. server: the name or the address by which it is asked."""
    if not certificate:
        return []
    if x509 is None:
        text = "the Python that runs Ansible has no cryptography; expected it to judge gpustack_tls_certificate"
        return [Finding("tls", "warn", text, "Install it there: pip install cryptography")]
    try:
        own, known = chain(certificate), chain(ca)
    except Unreadable:
        return []  # told among the variables
    return _times(own, known, now) + _names(own[0], server) + _signed(own, known) or [Finding("tls", "pass")]


def _times(own: list[Any], known: list[Any], now: datetime.datetime) -> list[Finding]:
    found = []
    for name, each in [(NAMES[0], each) for each in own] + [(NAMES[2], each) for each in known]:
        begin, end = _validity(each)
        which = f"{name} ({_subject(each)})"
        if end <= now:
            found.append(Finding("tls", "fail", f"{which} has ended on {end:%Y-%m-%d}; expected one that is valid", "Renew it."))
        elif begin > now:
            found.append(
                Finding("tls", "fail", f"{which} begins on {begin:%Y-%m-%d %H:%M} UTC; expected one that is valid", "Wait, or renew it.")
            )
        elif end - now <= SOON:
            days = (end - now).days
            text = f"{which} ends on {end:%Y-%m-%d}, in {days} day{'' if days == 1 else 's'}; expected {SOON.days} at least"
            found.append(Finding("tls", "warn", text, "Renew it, set the new one, and run site.yml, which starts the server again."))
    return found


def _validity(each: Any) -> tuple[datetime.datetime, datetime.datetime]:
    if hasattr(each, "not_valid_after_utc"):
        return each.not_valid_before_utc, each.not_valid_after_utc
    # Before cryptography 42
    begin, end = (moment.replace(tzinfo=datetime.timezone.utc) for moment in (each.not_valid_before, each.not_valid_after))
    return begin, end


def _subject(each: Any) -> str:
    names = each.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else each.subject.rfc4514_string() or "without a name"


def _names(leaf: Any, server: str) -> list[Finding]:
    """Workers hold the names of the certificate against the one that they ask."""
    try:
        listed = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts, addresses = listed.get_values_for_type(x509.DNSName), listed.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        hosts, addresses = [], []
    if _is_address(server):
        fits = ipaddress.ip_address(server) in addresses
    else:
        fits = any(_matches(server.lower().rstrip("."), each.lower()) for each in hosts)
    if fits:
        return []
    names = ", ".join([*hosts, *map(str, addresses)]) or "nothing"
    text = f"gpustack_tls_certificate names {names}; expected {server}, where workers ask the server"
    return [Finding("tls", "fail", text, "Have it made for that (subjectAltName), or set gpustack_server_url to what it names.")]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _matches(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])


def _signed(own: list[Any], known: list[Any]) -> list[Finding]:
    """Whether workers can find a way from the certificate to an authority that they are told of. Of public ones nothing is known here."""
    last = own[0]
    for _step in own:
        last = next((each for each in own if each is not last and _issued(last, each)), last)
    if known and not any(each == last or _issued(last, each) for each in known):
        text = f"gpustack_tls_certificate is signed by {last.issuer.rfc4514_string()}, which is not in gpustack_tls_ca; expected it there"
        return [
            Finding("tls", "fail", text, "Add its certificate to gpustack_tls_ca, and those between the two to gpustack_tls_certificate.")
        ]
    if not known and last.issuer == last.subject:
        text = f"gpustack_tls_certificate is signed by {last.issuer.rfc4514_string()} itself, which no worker knows; expected an authority"
        return [Finding("tls", "fail", text, "Set gpustack_tls_ca to the certificate that signed it.")]
    return []


def _issued(each: Any, by: Any) -> bool:
    if each.issuer != by.subject:
        return False
    verify = getattr(each, "verify_directly_issued_by", None)
    try:
        # Before cryptography 40 the names have to do.
        return verify is None or verify(by) is None
    except Exception:  # pylint: disable=broad-except # another key of the same name, or one that can't sign
        return False
