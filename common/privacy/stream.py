"""A cryptographic stream of random bits: the one source of every secret draw of a site.

AES-256 in counter mode over zeros (NIST SP 800-38A, section 6.5) is a pseudo-random function of its key: who does not
know the key cannot tell a word of the stream from a coin toss, whatever other words they have seen.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

KEY_BYTES = 32
_WORD, _BLOCK = 8, 16
FILL = 1 << 15
SPARE = 2
_ZEROS = memoryview(bytes(_WORD * FILL))
_SALT = b"oncofed secret stream 1"


def derived_key(root: bytes, info: str) -> bytes:
    """Returns the key of one purpose, 32 bytes: HKDF with SHA-256 (RFC 5869) of ``root`` under ``info``."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_SALT, info=info.encode()).derive(root)


class SecretStream:
    """The words of AES-256-CTR under one key, from the first on; a word is given out once.

    A key serves one stream of one call of training: the counter starts at zero, so the same key is the same stream.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"Expected a key of {KEY_BYTES} bytes, got {len(key)}")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK))).encryptor()

    def words(self, count: int) -> NDArray[np.int64]:
        """Returns ``count`` words of 64 random bits, int64."""
        return np.frombuffer(self._cipher.update(bytes(_WORD * count)), dtype=np.int64)

    def fill(self, buffer: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Returns ``count`` words of 64 random bits in the first places of ``buffer``, without new memory.

        Two places more than ``count`` are the cipher's working space; at most ``FILL`` words at a time.
        """
        self._cipher.update_into(_ZEROS[: _WORD * count], buffer.view(np.uint8).data)
        return buffer[:count]

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """Returns ``count`` draws from the 2^53 multiples of 2^-53 in [0, 1), float64."""
        return np.ldexp((self.words(count).view(np.uint64) >> np.uint64(11)).astype(np.float64), -53)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Returns 0..count-1 in random order, int64; two words tie, and keep their order, about once in 2^64 pairs."""
        return np.argsort(self.words(count), kind="stable")
