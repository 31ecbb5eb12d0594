"""The certificates of a run folder: private, for the loopback, made once and again before they expire."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from peyvand.local_cluster.certificates import LIFETIME, RENEWAL, SERVERS, Certificates


def test_they_are_private_and_the_authority_keeps_no_key(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "certificates").prepare()
    assert made.folder.stat().st_mode & 0o077 == 0
    for path in (made.ca, *map(made.of, SERVERS)):
        assert path.stat().st_mode & 0o077 == 0
        assert (b"PRIVATE KEY" in path.read_bytes()) == (path != made.ca)


def test_they_verify_for_the_loopback_and_the_named_hosts(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "certificates", ("kafka",)).prepare()
    for server in SERVERS:
        certificate = x509.load_pem_x509_certificate(made.of(server).read_bytes())
        authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost", "kafka"]
        assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(made.of(server))


def test_they_are_made_once_and_again_before_they_expire(tmp_path: Path) -> None:
    certificates, now = Certificates(tmp_path / "certificates"), datetime.now(UTC)
    before = certificates.prepare(now).ca.read_bytes()
    assert certificates.prepare(now + LIFETIME - RENEWAL - timedelta(days=1)).ca.read_bytes() == before
    assert certificates.prepare(now + LIFETIME - RENEWAL + timedelta(days=1)).ca.read_bytes() != before
    certificates.of("kafka").unlink()
    before = certificates.ca.read_bytes()
    assert certificates.prepare(now).ca.read_bytes() != before, "one that is missing is made with all the others"
