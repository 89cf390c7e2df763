"""The TLS contexts of all clients, and what is said about files that they cannot use."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from drivers.tls import TlsFileError, client_context, unusable_files
from tests.faults.certificates import Authority


def test_every_client_checks_certificate_and_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("client")
    context = client_context(authority.ca_file, shown.cert_file, shown.key_file)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] == 1, "with ca_file, the system's store is not trusted"


def test_each_mistake_names_its_own_file(tmp_path: Path) -> None:
    shown = Authority(tmp_path).issue("client")
    junk, missing = tmp_path / "junk", tmp_path / "missing"
    junk.write_text("no certificate")
    files: dict[str, tuple[Path | None, Path | None, Path | None]] = {
        "ca_file": (junk, None, None),
        "client_cert_file": (None, junk, None),
        "client_key_file": (None, shown.cert_file, missing),
    }
    for key, paths in files.items():
        with pytest.raises(TlsFileError, match=f"^{key} .* cannot be used") as caught:
            client_context(*paths)
        assert [(error.key, error.file) for error in unusable_files(*paths)] == [(key, caught.value.file)]
    assert [error.key for error in unusable_files(junk, shown.cert_file, missing)] == ["ca_file", "client_key_file"]


def test_a_key_that_belongs_to_another_certificate_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine, other = authority.issue("mine"), authority.issue("other")
    (error,) = unusable_files(None, mine.cert_file, other.key_file)
    assert (error.key, isinstance(error.cause, ssl.SSLError)) == ("client_cert_file", True)
