"""Makes the certificates by which the services know each other (services/common/mutual_tls.py), for ten years.

`python -m deploy.docker.certificates FOLDER` makes a folder for each service in FOLDER, with --together one for all, which
does where they are one machine's. What is there already stays. The authority's own key is thrown away: nobody can make
more certificates that are believed, and to renew one all are made anew.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.common.mutual_tls import AUTHORITY, CALLERS, CERTIFICATE, KEY

NAMES = ("envoy", *CALLERS)

VALID = timedelta(days=3650)

#: Of clocks.
DIFFERENCE = timedelta(hours=1)


class Authority:
    """One who vouches for names, as long as the object is there."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject("reco")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder(subject, subject, self._key).add_extension(x509.BasicConstraints(True, 0), True)
        self._certificate = builder.add_extension(usage, True).sign(self._key, hashes.SHA256())

    def issue(self, folder: Path, names: Sequence[str]) -> None:
        """Writes a certificate of these DNS names, its key, for the owner's eyes alone, and the authority's certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        others = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _builder(_subject(names[0]), self._certificate.subject, key).add_extension(others, False)
        builder = builder.add_extension(x509.BasicConstraints(False, None), True).add_extension(usage, False)
        certificate = builder.sign(self._key, hashes.SHA256())
        kept = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in (
            (AUTHORITY, self._certificate.public_bytes(serialization.Encoding.PEM)),
            (KEY, key.private_bytes(*kept)),
            (CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM)),
        ):
            (folder / name).unlink(missing_ok=True)
            (folder / name).touch(0o600)
            (folder / name).write_bytes(text)


def make(folder: Path, together: bool) -> bool:
    """Makes what is missing; False where nothing is. See the module's text."""
    wanted = {folder: NAMES} if together else {folder / name: (name,) for name in NAMES}
    if all((path / name).is_file() for path in wanted for name in (AUTHORITY, CERTIFICATE, KEY)):
        return False
    authority = Authority()  # without an earlier one's key: all are made
    for path, names in wanted.items():
        authority.issue(path, names)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Says what was made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--together", action="store_true", help="one certificate for all services")
    options = parser.parse_args(arguments)
    made = make(options.folder, options.together)
    print(f"{options.folder}: {'certificates made, for ten years' if made else 'has certificates already'}")
    return 0


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - DIFFERENCE, now + VALID
    )


if __name__ == "__main__":
    sys.exit(main())
