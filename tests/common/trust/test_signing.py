"""Keys are made once, stay private, and nothing but them signs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from common.errors import TrustError
from common.trust.signing import SiteKey, signature_holds

KEY = SiteKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@given(st.binary(), st.binary())
def test_a_signature_holds_for_its_message_alone(message: bytes, other: bytes) -> None:
    signature = KEY.sign(message)
    assert signature_holds(KEY.public_hex, message, signature)
    assert signature_holds(KEY.public_hex, other, signature) == (message == other)


@given(st.text(max_size=130), st.text(max_size=70))
def test_no_text_is_a_signature_or_a_key_and_none_raises(signature: str, public: str) -> None:
    assert not signature_holds(KEY.public_hex, b"message", signature)
    assert not signature_holds(public, b"message", KEY.sign(b"message"))


def test_another_key_does_not_sign_for_this_one() -> None:
    other = SiteKey(Ed25519PrivateKey.generate())
    assert not signature_holds(KEY.public_hex, b"message", other.sign(b"message"))
    assert other.fingerprint("anna") != KEY.fingerprint("anna")


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "site.key"
    made = SiteKey.open(path)
    assert SiteKey.open(path).public_hex == made.public_hex
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["site.key"]


def test_many_who_open_it_first_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: SiteKey.open(tmp_path / "site.key").public_hex, range(8)))
    assert len(set(keys)) == 1


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    SiteKey.open(path)
    path.chmod(0o640)
    with pytest.raises(TrustError, match="chmod 600"):
        SiteKey.open(path)


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(b"nothing")
    path.chmod(0o600)
    with pytest.raises(TrustError, match="no readable private key"):
        SiteKey.open(path)
    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(TrustError, match="expected an Ed25519 key"):
        SiteKey.open(path)


def test_a_key_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.key"
    with pytest.raises(TrustError, match="no key at"):
        SiteKey.read(path)
    assert not path.parent.exists()
    assert SiteKey.open(path).public_hex == SiteKey.read(path).public_hex
