"""When the system may be open to all, and what is said where it may not."""

import ipaddress

from services.common.errors import RecoError
from services.gateway.access.keys import KeyTable

#: The environment's variable that opens it: `true` or `false`.
ALLOW_ANONYMOUS = "RECO_ALLOW_ANONYMOUS"

#: How a key is made where there is no `make`.
MAKE_KEY = "python -m services.gateway.access new --name admin --role admin"

ADVICE = f"""\
Nothing was started: RECO would listen on {{listen}}, for others than this machine, and there is no key yet.
Without keys, whoever reaches it may enroll, verify and erase people. Make a key first, for yourself:

  {{make_key}}

or, where all may do everything: {ALLOW_ANONYMOUS}=true
"""


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def lacks_keys(table: KeyTable) -> bool:
    """Whether no key was ever made; False where the database cannot be asked now, since then nobody is let in anyway."""
    try:
        return not table.all()
    except RecoError:
        return False
