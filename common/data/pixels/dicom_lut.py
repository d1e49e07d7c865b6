"""Lookup tables of DICOM, modality (PS3.3 C.11.1.1) and VOI LUT (PS3.3 C.11.2.1.1), however their data are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset as Tags

Values = NDArray[np.float32]


def is_table(item: Tags) -> bool:
    """Returns whether a sequence's item holds a table; some writers leave an empty one."""
    return item.get("LUTDescriptor") is not None and item.get("LUTData") is not None


def look_up(values: NDArray[Any], item: Tags, *, little_endian: bool) -> tuple[Values, int]:
    """Returns the entry of each value, float32 of the values' shape, and the bits of an entry.

    Values below the first that is mapped take the first entry, those past the last take the last.

    Args:
        values: To be looked up; they are rounded.
        item: Of ModalityLUTSequence or VOILUTSequence.
        little_endian: The file's byte order; data of VR OW come as bytes.

    Raises:
        ValueError: An entry does not fit its bits, or a value asks for an entry that the descriptor promises and
            the data lack.
    """
    count, start, bits = (int(number) for number in item.LUTDescriptor)
    count = count or 1 << 16
    entries = _entries(item.LUTData, count, bits, little_endian)[:count]
    if not 1 <= bits <= 16 or not len(entries) or int(entries.max()) >= 1 << bits:
        raise ValueError(f"a lookup table says {bits} bits an entry, and its entries do not fit them")
    at = np.clip(np.rint(values) - start, 0, count - 1).astype(np.int64)
    if int(at.max(initial=0)) >= len(entries):
        raise ValueError(f"a lookup table says {count} entries, but holds {len(entries)}")
    return entries[at].astype(np.float32), bits


def _entries(data: Any, count: int, bits: int, little_endian: bool) -> NDArray[np.int64]:
    """Entries of 8 bits may be packed, two to a word (PS3.3 C.11.1.1.1): then there are as many bytes as entries."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64))
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if little_endian else ">u2")
    if bits <= 8 and len(data) == count + count % 2:
        return words.astype("<u2").view(np.uint8).astype(np.int64)
    return words.astype(np.int64)
