"""Which files are one exam.

DICOM files with one StudyInstanceUID are one exam, wherever they lie. Of other images, those in one folder below the
given one are an exam; those that lie loose in it, or are named one by one, are an exam each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.files.tree import files_below
from common.data.pixels.dicom import side_and_view
from common.data.pixels.dicom_file import is_dicom, open_tags, quiet
from common.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset as Tags

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".pgm"})
DICOMS = frozenset({".dcm", ".dicom", ".ima"})
NO_IMAGES = frozenset({"dicomdir", "version", "lockfile", "readme", "license", "licence", "makefile", "manifest"})
"""Names without a suffix that are nobody's images; every other file without one may be a DICOM image, even damaged."""
_UID = "1.2.840.10008."
WITHOUT_PIXELS = tuple(
    _UID + rest for rest in ("1.3.10", "5.1.4.1.1.88.", "5.1.4.1.1.11.", "5.1.4.1.1.104.", "5.1.4.1.1.66")
)
"""SOP classes (or how they begin) of directories, reports, presentation states, documents and segmentations (PS3.4
B.5): they stand beside images and are none."""
SECONDARY_CAPTURE = _UID + "5.1.4.1.1.7"
OUR_WORDS = "research use only"
"""Stand in the series description of every picture that this program sends to a PACS, so it never reads its own."""
LONGEST, LONGEST_TAG = 512, 128


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a DICOM file's tags say; empty strings are unknown.

    Attributes:
        readable: Whether the tags could be read.
    """

    readable: bool
    study: str = ""
    accession: str = ""
    patient: str = ""
    taken: date | None = None
    modality: str = ""
    manufacturer: str = ""
    device: str = ""
    view: str = ""
    intent: str = ""
    burned_in: bool = False
    sop_class: str = ""
    series: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Exam:
    """One exam.

    Attributes:
        key: Accession number, else StudyInstanceUID; of other files the name of the folder or of the file.
        patient: PatientID; of other files the exam's key.
        files: Its images, by name.
        headers: One a file; None: it is no DICOM file.
    """

    key: str
    patient: str
    files: tuple[Path, ...]
    headers: tuple[Header | None, ...]

    @property
    def study(self) -> str:
        """StudyInstanceUID; empty for other files."""
        return next((header.study for header in self.headers if header is not None and header.study), "")

    def tag(self, name: str) -> str | None:
        """Returns the first value of an attribute of :class:`Header` that is known, else None."""
        found = (getattr(header, name) for header in self.headers if header is not None)
        return next((str(value) for value in found if value), None)

    @property
    def taken(self) -> date | None:
        """Day of the exam."""
        return next((header.taken for header in self.headers if header is not None and header.taken), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The exams, by key, and how many files were left out because they are no images."""

    exams: tuple[Exam, ...]
    left_out: int


def find_exams(places: Sequence[Path]) -> Found:
    """Returns the exams in files and folders; each file counts once.

    Raises:
        DataError: A place does not exist, or there is no image in any of them.
    """
    loose: dict[Path, str] = {}
    left_out = 0
    for place in places:
        if not place.exists():
            raise DataError(f"There is no {place}; name a file or a folder of images")
        for path in files_below(place) if place.is_dir() else [place]:
            if not _may_be_image(path):
                left_out += 1
                continue
            loose.setdefault(path.resolve(), _group(place, path))
    exams, without_pixels = _grouped(loose)
    if not exams:
        raise DataError(
            f"There is no image in {', '.join(str(place) for place in places)} ({left_out + without_pixels} other "
            "files); expected DICOM, PNG, JPEG, TIFF, BMP or PGM"
        )
    return Found(exams, left_out + without_pixels)


def _may_be_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in PICTURES or suffix in DICOMS or is_dicom(path):
        return True
    # Modalities name files by numbers and UIDs, whose last part looks like a suffix.
    return (not suffix or suffix[1:].isdigit()) and path.name.lower() not in NO_IMAGES


def _group(place: Path, path: Path) -> str:
    """Returns what names the exam of a file that is no DICOM: its folder's path, or the file's where it is loose."""
    folder = path.parent
    return str(path) if not place.is_dir() or folder == place else str(folder)


def _grouped(loose: dict[Path, str]) -> tuple[tuple[Exam, ...], int]:
    groups: dict[tuple[str, str], list[tuple[Path, Header | None]]] = {}
    without_pixels = 0
    for path, folder in loose.items():
        header = read_header(path) if is_dicom(path) or path.suffix.lower() in DICOMS else None
        if header is not None and _is_no_image(header):
            without_pixels += 1
            continue
        of_study = header.study if header is not None else ""
        # A DICOM file that names no study stands alone: nothing tells with which others it belongs.
        place = ("study", of_study) if of_study else ("file", str(path)) if header is not None else ("folder", folder)
        groups.setdefault(place, []).append((path, header))
    exams = list(_named(groups))
    return tuple(sorted(exams, key=lambda exam: (exam.key, exam.files))), without_pixels


def _is_no_image(header: Header) -> bool:
    ours = header.sop_class == SECONDARY_CAPTURE and OUR_WORDS in header.series.lower()
    return ours or header.sop_class.startswith(WITHOUT_PIXELS)


def _named(groups: dict[tuple[str, str], list[tuple[Path, Header | None]]]) -> Iterator[Exam]:
    accessions: list[str] = []
    for (kind, name), members in groups.items():
        members.sort(key=lambda member: str(member[0]))
        files, headers = tuple(path for path, _ in members), tuple(header for _, header in members)
        found = next((header.accession for header in headers if header is not None and header.accession), "")
        if found in accessions:
            found = ""  # two studies of one accession number are two exams
        accessions.append(found or name)
        key = (found or (name if kind == "study" else Path(name).stem if len(files) == 1 else Path(name).name))[
            :LONGEST
        ]
        patient = next((header.patient for header in headers if header is not None and header.patient), "")[:LONGEST]
        yield Exam(_written(key) or "exam", _written(patient or key) or "exam", files, headers)


def _written(name: str) -> str:
    """Returns a name with what is no letter of any language, as of a file from another system, as its number."""
    return name.encode("utf-8", "backslashreplace").decode()[:LONGEST]


def read_header(path: Path) -> Header:
    """Returns what the file's tags say; ``readable`` is False where they cannot be read, and nothing else is known."""
    try:
        with quiet():
            return _header(open_tags(path, pixels=False))
    except Exception:  # pydicom raises nearly every built-in error on damaged bytes
        return Header(readable=False)


def _header(tags: Tags) -> Header:
    _, view = side_and_view(tags)
    return Header(
        readable=True,
        study=_text(tags, "StudyInstanceUID"),
        accession=_text(tags, "AccessionNumber"),
        patient=_text(tags, "PatientID"),
        taken=_day(_text(tags, "StudyDate") or _text(tags, "AcquisitionDate")),
        modality=_text(tags, "Modality").upper(),
        manufacturer=_text(tags, "Manufacturer"),
        device=_text(tags, "ManufacturerModelName"),
        view=view,
        intent=_text(tags, "PresentationIntentType").lower().removeprefix("for "),
        burned_in=_text(tags, "BurnedInAnnotation").upper() == "YES",
        sop_class=_text(tags, "SOPClassUID"),
        series=_text(tags, "SeriesDescription"),
    )


def _text(tags: Tags, name: str) -> str:
    return str(tags.get(name) or "").strip()[:LONGEST]


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None
