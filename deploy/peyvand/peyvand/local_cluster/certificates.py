"""A certificate authority and server certificates of one run folder: development only.

The authority's key is not kept: a new authority signs all certificates again before they expire.
`python -m peyvand.local_cluster.certificates FOLDER NAME...` makes them for hosts with these names (containers).
"""

import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peyvand.local_cluster.workspace import replace_file

LIFETIME, RENEWAL = timedelta(days=365), timedelta(days=30)  # from the start, and before the end
SERVERS = ("kafka", "controller", "mongod")


class Certificates(msgspec.Struct, frozen=True):
    """The files of one folder: `ca.pem`, and for each server a key with its certificate."""

    folder: Path
    hosts: tuple[str, ...] = ()  # besides the loopback

    @property
    def ca(self) -> Path:
        """Return the file with the authority's certificate, which clients trust."""
        return self.folder / "ca.pem"

    def of(self, server: str) -> Path:
        """Return the file with a server's key and certificate."""
        return self.folder / f"{server}.pem"

    def prepare(self, now: datetime | None = None) -> "Certificates":
        """Make all files, unless those that exist are valid for long enough."""
        now = now or datetime.now(UTC)
        if not all(path.exists() and _expiry(path) > now + RENEWAL for path in (self.ca, *map(self.of, SERVERS))):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make(now)
        return self

    def _make(self, now: datetime) -> None:
        authority = ec.generate_private_key(ec.SECP256R1())
        name = subject("Peyvand development authority")
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        ca = _builder(name, name, authority.public_key(), now).add_extension(constraint, critical=True)
        for server in SERVERS:
            key = ec.generate_private_key(ec.SECP256R1())
            # Both usages: the controller, and a member of a replica set, are also clients of themselves.
            usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
            certificate = (
                _builder(name, subject(server), key.public_key(), now)
                .add_extension(self._names(), critical=False)
                .add_extension(usages, critical=False)
                .sign(authority, hashes.SHA256())
            )
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            replace_file(self.of(server), pem + certificate.public_bytes(serialization.Encoding.PEM))
        signed = ca.sign(authority, hashes.SHA256())
        replace_file(self.ca, signed.public_bytes(serialization.Encoding.PEM))

    def _names(self) -> x509.SubjectAlternativeName:
        names = [x509.DNSName(host) for host in ("localhost", *self.hosts)]
        return x509.SubjectAlternativeName([*names, x509.IPAddress(ip_address("127.0.0.1"))])


def subject(name: str) -> x509.Name:
    """Return a distinguished name with a common name only: `CN=controller`."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    issuer: x509.Name, name: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _expiry(path: Path) -> datetime:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


if __name__ == "__main__":
    Certificates(Path(sys.argv[1]), tuple(sys.argv[2:])).prepare()
