"""Passwords in addresses: found, and kept out of whatever is shown."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "..."

_USER = re.compile(r"(://[^\s:/?#'\"]*):([^\s'\"]*)@")  # up to the last @: passwords may hold an @ or a slash
_QUERY = re.compile(
    r"([?&;][^=&\s'\"]*(?:pass|pwd|token|secret|key|credential|signature)[^=&\s'\"]*=)([^&\s'\"#]+)",
    re.IGNORECASE,
)


def hide_passwords(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with the passwords of all addresses in it, and the given secrets, replaced by dots."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1:{HIDDEN}@", text))


def passwords(address: str) -> set[str]:
    """The passwords, tokens and keys in an address, as written and decoded."""
    found = {match.group(2) for kind in (_USER, _QUERY) for match in kind.finditer(address)} - {""}
    return found | {unquote(password) for password in found}


def check_address(address: str) -> str:
    """The address, which has no password in it.

    Raises:
        ValueError: It has; the message says where passwords belong.
    """
    if passwords(address):
        raise ValueError(
            "a password does not belong here, where logs and reports show it: leave it out, and give it in the "
            "environment as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; or give no address here, and the "
            "whole of it in the environment as MLFLOW_TRACKING_URI"
        )
    return address
