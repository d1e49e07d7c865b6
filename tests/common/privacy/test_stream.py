"""The stream is AES-256 in counter mode, as published vectors and another library say, and no word comes twice."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.privacy.stream import SecretStream, derived_key


def _block_by_block(key: bytes, count: int) -> bytes:
    """Counter mode by its definition: each counter encrypted alone (NIST SP 800-38A, section 6.5)."""
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # one block at a time is what the definition says
    return b"".join(cipher.update(index.to_bytes(16, "big")) for index in range(-(-count // 16)))[:count]


def test_the_zero_key_gives_the_published_block() -> None:
    """AES-256 of the zero block under the zero key (NIST AESAVS, appendix C.2, COUNT 0 of the zero key)."""
    assert SecretStream(bytes(32)).words(2).tobytes().hex() == "dc95c078a2408989ad48a21492842087"


@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 40), max_size=6))
def test_however_it_is_read_it_is_the_counter_encrypted(key: bytes, reads: list[int]) -> None:
    stream = SecretStream(key)
    got = b"".join(stream.words(count).tobytes() for count in reads)
    assert got == _block_by_block(key, 8 * sum(reads))


@given(st.binary(min_size=1, max_size=80), st.text(max_size=20))
def test_a_derived_key_is_hkdf(root: bytes, info: str) -> None:
    """RFC 5869, section 2, with one block of output, by the standard library's HMAC."""
    extracted = hmac.digest(b"oncofed secret stream 1", root, hashlib.sha256)
    assert derived_key(root, info) == hmac.digest(extracted, info.encode() + b"\x01", hashlib.sha256)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SecretStream(bytes(size))


def test_uniforms_are_multiples_of_2_to_the_minus_53_and_uniform() -> None:
    drawn = SecretStream(bytes(32)).uniforms(200_000)
    assert np.all(drawn * 2.0**53 == np.rint(drawn * 2.0**53)) and drawn.min() >= 0 and drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 1e-6


@given(st.integers(0, 60), st.binary(min_size=32, max_size=32))
def test_a_permutation_holds_everybody_once(count: int, key: bytes) -> None:
    assert sorted(SecretStream(key).permutation(count).tolist()) == list(range(count))


def test_all_orders_are_equally_likely() -> None:
    stream = SecretStream(bytes(range(32)))
    seen = np.array([stream.permutation(3) for _ in range(6000)]) @ [9, 3, 1]
    counts = np.unique(seen, return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-6
