"""Cleaned copies of DICOM files, after the basic application level confidentiality profile (PS3.15 2024b, E.1-1).

What is done to which attribute is dicom-anonymizer's table, applied at every depth. On top: the patient keeps one keyed
pseudonym, so that a woman's images stay together, and the codes that the standard asks for are written. Letters burned
into pixels stay; :mod:`common.data.checks.overlay` finds many of them.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.cli.guard import OF_A_PLACE
from common.data.files.tree import files_below
from common.data.intake.identifiers import is_nobody
from common.data.pixels.dicom_file import is_dicom, lacks_wrapping, open_tags, quiet
from common.errors import DataError

METHOD = "DICOM PS3.15 2024b basic application level confidentiality profile, by OncoFed with dicom-anonymizer"
CODES = (("113100", "Basic Application Confidentiality Profile"),)
PSEUDONYM = 16
"""Hex digits of a pseudonym: 64 bits."""
WITHOUT_PATIENT = "without a patient's identifier"
"""Blank, or a word for nobody: one pseudonym for all of them would make one patient of several."""
WRAPPED = "written with the preamble or transfer syntax that they lacked"
UID_ROOT = "2.25."


def deidentify_folder(source: Path, target: Path, key: bytes) -> dict[str, int]:
    """Writes a cleaned copy of each DICOM file below ``source`` to the same place below ``target``.

    Returns:
        Counts: ``cleaned`` (of them :data:`WRAPPED`), ``not DICOM`` (passed over), ``unreadable`` and
        :data:`WITHOUT_PATIENT` (no copy of them).

    Raises:
        DataError: There is no source, or the target exists or lies within it.
    """
    if not source.is_dir():
        raise DataError(f"There is no folder {source}; name the one that holds the DICOM files")
    if target.exists() or target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target} exists or lies within {source}; name a new folder elsewhere")
    counts: Counter[str] = Counter()
    for number, path in enumerate(files_below(source), start=1):
        done = _copy(path, target, number, key)
        counts.update([done, WRAPPED] if done == "cleaned" and lacks_wrapping(path) else [done])
    return dict(counts)


def _copy(path: Path, target: Path, number: int, key: bytes) -> str:
    if not is_dicom(path):
        return "not DICOM"
    try:
        with quiet():
            return _cleaned(path, target, number, key)
    except OSError as error:
        if error.errno in OF_A_PLACE and str(error.filename) != str(path):
            raise  # the copy cannot be written, which says nothing of the file
        return "unreadable"
    except Exception:  # pydicom raises nearly every built-in error on damaged bytes, and their texts hold values
        return "unreadable"


def _cleaned(path: Path, target: Path, number: int, key: bytes) -> str:
    dataset = open_tags(path, pixels=True)
    if is_nobody(str(dataset.get("PatientID") or dataset.get("PatientName") or "")):
        return WITHOUT_PATIENT
    deidentify(dataset, key)
    # The names of files and folders often name a person: they are numbers in the copy.
    place = target / f"{dataset.PatientID}" / f"{number:06}.dcm"
    place.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(place)
    return "cleaned"


def deidentify(dataset: Any, key: bytes) -> None:
    """Cleans a pydicom dataset in place.

    Args:
        dataset: As :func:`common.data.pixels.dicom_file.open_tags` returned it.
        key: Turns a ``PatientID`` into its pseudonym and a UID into its new one; the same key gives the same ones.
    """
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions_2024b
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    patient = str(dataset.get("PatientID", "") or dataset.get("PatientName", "") or "")
    uids = _uids(dataset, key)
    for item in [*_items(dataset), dataset]:
        item.remove_private_tags()
    anonymize_dataset(dataset, base_rules_gen=initialize_actions_2024b)
    for item in _items(dataset):
        anonymize_dataset(item, base_rules_gen=initialize_actions_2024b)
    _restore(dataset, uids)
    name = unicodedata.normalize("NFC", patient.strip())
    pseudonym = hmac.new(key, f"patient|{name}".encode(), hashlib.sha256).hexdigest()[:PSEUDONYM]
    dataset.PatientID = dataset.PatientName = pseudonym
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD[:64]
    codes = []
    for value, meaning in CODES:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    dataset.DeidentificationMethodCodeSequence = Sequence(codes)
    if "SOPClassUID" in dataset:
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for name in ("SourceApplicationEntityTitle", "PrivateInformation", "PrivateInformationCreatorUID"):
        if name in dataset.file_meta:
            delattr(dataset.file_meta, name)
    dataset.preamble = b"\0" * 128


def _items(dataset: Any) -> Iterable[Any]:
    """Returns the items of all sequences at every depth."""
    found: list[Any] = []
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += [item, *_items(item)]
    return found


def _uids(dataset: Any, key: bytes) -> Mapping[str, str]:
    """Returns keyword -> new UID of the study, the series and the image: keyed, so that copies stay together."""
    new = {}
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        if dataset.get(name):
            digest = hmac.new(key, f"uid|{dataset.get(name)}".encode(), hashlib.sha256).digest()[:16]
            new[name] = UID_ROOT + str(int.from_bytes(digest, "big"))
    return new


def _restore(dataset: Any, uids: Mapping[str, str]) -> None:
    for name, value in uids.items():
        setattr(dataset, name, value)
