# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a secret in a text, and how it is hidden."""

from __future__ import annotations

import json
import re
from typing import Any

_SECRET_NAME = re.compile(r"token|passw|secret|credential|private|(?:\A|[_-])key\Z|\Adatabase_url\Z", re.IGNORECASE)
_URL_USER = re.compile(r"://[^/\s\"]+@")
# A proxy may be named without the scheme.
_PROXY_USER = re.compile(r"(_proxy=)(?!\w+://)[^/\s\"]+@", re.IGNORECASE)
HIDDEN = "***"


def looks_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name))


def without_logins(text: str) -> str:
    """The text with nothing of who logs in in its URLs, nor in NAME_proxy=…."""
    return _PROXY_USER.sub(r"\1***@", _URL_USER.sub("://***@", text))


def shown(name: str, value: Any) -> str:
    """A value as it may be shown: nothing of a secret, nor of who logs in in a URL."""
    if looks_secret(name) and not isinstance(value, bool):
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return without_logins(text)
