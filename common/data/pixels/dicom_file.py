"""The one door to a DICOM file: what counts as one, and its tags, also where the wrapping of PS3.10 is missing.

Older modalities export the data set without the preamble of 128 bytes, or without a transfer syntax. Viewers read both,
and so do we; :func:`lacks_wrapping` tells, so that the checks can say so.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset as Tags

_DEFLATED = "1.2.840.10008.1.2.1.99"
_FIRST_GROUPS = frozenset({0x0002, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_LONGEST_FIRST = 256
"""Bytes of a first value; implicit VR has no letters to tell it by, so that its length must be believable."""


class UnfitFile(Exception):
    """The file is whole, but is not for us; the text goes on after the file's name."""


def is_dicom(path: Path) -> bool:
    """Returns whether the file opens with DICOM's preamble (PS3.10 7.1), or at once with an element of a data set."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or _starts_with_an_element(head)


def open_tags(path: Path, *, pixels: bool) -> Tags:
    """Returns the file's tags; ``file_meta.TransferSyntaxUID`` is filled in, from the bytes where it is not written.

    Raises:
        UnfitFile: The file is deflated, or compressed without a word of how.
        Exception: Of nearly every built-in kind, by pydicom, on damaged bytes.
    """
    from pydicom import dcmread

    if not is_dicom(path):
        raise ValueError("there is neither DICM at byte 128 nor an element of DICOM at the start")
    if str(_meta(path)[1].get("TransferSyntaxUID", "")) == _DEFLATED:
        raise UnfitFile("is deflated, which may unpack to any size; export it uncompressed")
    tags = dcmread(path, stop_before_pixels=not pixels, force=True)
    if "TransferSyntaxUID" not in tags.file_meta:
        _name_syntax(tags)
    return tags


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the DICOM libraries from printing what they say of odd values: they print the values, so names."""
    loggers = [logging.getLogger(name) for name in ("dicomweb_client", "highdicom", "pydicom", "pynetdicom")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def lacks_wrapping(path: Path) -> bool:
    """Returns whether the DICOM file has no preamble or names no transfer syntax."""
    preamble, meta = _meta(path)
    return preamble is None or "TransferSyntaxUID" not in meta


def _starts_with_an_element(head: bytes) -> bool:
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[at : at + 2], order) for at in (0, 2))
        if len(head) >= 132 and group in _FIRST_GROUPS and element <= 0xFF:
            length = int.from_bytes(head[4:8], "little")
            implicit = order == "little" and group in (2, 8) and length <= _LONGEST_FIRST and length % 2 == 0
            return head[4:6] in _VRS or implicit
    return False


def _meta(path: Path) -> tuple[bytes | None, Tags]:
    """Returns the preamble, None where there is none, and the elements of group 2."""
    from pydicom.filereader import read_dataset, read_preamble

    with path.open("rb") as file:
        preamble = read_preamble(file, force=True)
        return preamble, read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)


def _name_syntax(tags: Tags) -> None:
    """Writes the syntax in which pydicom understood the bytes."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "PixelData" in tags and tags["PixelData"].is_undefined_length:
        raise UnfitFile("is compressed, but names no transfer syntax; save it anew with gdcmconv or dcmconv")
    implicit, little = tags.original_encoding
    plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    tags.file_meta.TransferSyntaxUID = plain


def tags_or_none(path: Path) -> Tags | None:
    """Returns the file's tags without pixels, or None where they cannot be read."""
    try:
        return open_tags(path, pixels=False)
    except Exception:  # pydicom raises nearly every built-in error on damaged bytes
        return None
