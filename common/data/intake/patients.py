"""Who is a patient: by a column, DICOM's PatientID, a folder or a name's beginning; in doubt a person decides."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from common.data.checks.finding import Finding
from common.data.intake.choices import Choices
from common.data.intake.copies import originals
from common.data.intake.doubts import error, warning
from common.data.intake.guessing import LEADING, folder_guess, name_guess, torn_by
from common.data.intake.headers import Header
from common.data.intake.identifiers import alike, is_broken, is_nobody
from common.data.intake.joined import Joined
from common.data.intake.paths import telling_folders
from common.data.intake.words import words_of
from common.errors import DataError

PATIENT_WORDS = frozenset({
    "patient", "patientid", "pat", "patid", "pid", "mrn", "subject", "subjectid", "woman", "patientin", "paciente",
    "paziente", "patiënt", "pacjent", "hasta", "患者", "病人", "пациент", "patientennummer", "patientenid",
    "patientennr", "patientnumber", "patientnummer", "patientno", "patientnr", "patnr",
})  # fmt: skip
CASE_WORDS = frozenset({"case", "caseid", "fall"})
NUMBER_WORDS = frozenset({"id", "no", "nr", "number", "num", "code", "key", "nummer", "numero", "número", "pseudonym"})
CHOICE = "Say what tells them apart: --patients column, dicom, folder (with --level), name or image"


@dataclasses.dataclass(frozen=True)
class Patients:
    """Who each image is of.

    Attributes:
        of: Image -> identifier; images of nobody are left out.
        said: From where, in words.
        findings: What leaves doubt; an error keeps the proposal from being written.
    """

    of: Mapping[str, str]
    said: str
    findings: tuple[Finding, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)


def tell_patients(
    images: Sequence[str], joined: Joined | None, headers: Mapping[str, Header], choices: Choices
) -> Patients:  # fmt: skip
    """Returns who each image is of, and what leaves doubt.

    Raises:
        DataError: ``choices`` name what is not there.
    """
    told = _chosen(images, joined, headers, choices)
    named = set(told.of.values())
    findings = [*told.findings, *_unusable(images, told)]
    if not choices.patients and not choices.patient_column:
        findings += _zeros(named) + _against_dicom(told.of, headers)
    if len(named) == 1 and len(told.of) > 1:
        findings += error("patient-one", f"patient in all, of {len(told.of)} images", CHOICE, count=1)
    kept = {image: who for image, who in told.of.items() if not is_nobody(who) and not is_broken(who)}
    return Patients(kept, told.said, tuple(findings))


def _chosen(
    images: Sequence[str], joined: Joined | None, headers: Mapping[str, Header], choices: Choices
) -> Patients:  # fmt: skip
    source = choices.patients
    if choices.patient_column or source == "column" or (not source and joined and _columns(joined)):
        return _by_column(joined, choices)
    if source == "dicom" or (not source and headers and len(headers) == len(images)):
        if not headers:
            raise DataError("--patients dicom: there is no DICOM file here")
        return Patients(
            {image: header.patient for image, header in headers.items()}, "DICOM's PatientID names the patients"
        )
    if source == "folder":
        return _by_folder(images, choices)
    if source == "name":
        return _by_name_asked(images)
    if source == "image":
        return Patients({image: image for image in images}, "every image counts as a patient, as was asked")
    return _guessed(images, headers, choices)


def _columns(joined: Joined) -> list[str]:
    """Returns the columns that are called patients' identifiers, those called cases only where there is no other."""
    names = list(next(iter(joined.rows.values()))[0]) if joined.rows else []
    for kind in (PATIENT_WORDS, CASE_WORDS):
        found = [name for name in names if (words := set(words_of(name))) & kind and words <= kind | NUMBER_WORDS]
        if found:
            return found
    return []


def _by_column(joined: Joined | None, choices: Choices) -> Patients:
    if joined is None or not joined.rows:
        raise DataError("--patients column needs a table: give it with --labels")
    names = [choices.patient_column] if choices.patient_column else _columns(joined)
    first_row = next(iter(joined.rows.values()))[0]
    if not names or names[0] not in first_row:
        raise DataError(f"No column is called {' or '.join(names) or 'patient'}; the table has {', '.join(first_row)}. "
                        "Name one with --patient-column")  # fmt: skip
    of = {}
    torn = []
    for image, rows in joined.rows.items():
        who = {row[names[0]] for row in rows}
        if len(who) == 1:
            of[image] = who.pop()
        else:
            torn.append(image)
    fix = "Correct the table, or say which rows are of which image."
    findings = error("patient-several", "images whose rows name several patients", fix, torn)
    if any(_differ(joined, names[0], other) for other in names[1:]):
        what = f"columns that could hold the patients and disagree: {', '.join(names)}"
        findings += error("patient-columns", what, "Name one with --patient-column.", count=len(names))
    return Patients(of, f"column {names[0]} holds the patients", tuple(findings))


def _differ(joined: Joined, one: str, other: str) -> bool:
    pairs = {(row[one], row[other]) for rows in joined.rows.values() for row in rows}
    return len(pairs) > min(len({first for first, _ in pairs}), len({second for _, second in pairs}))


def _by_folder(images: Sequence[str], choices: Choices) -> Patients:
    """Returns the folder that was asked for, with those above it that tell of no label and no split."""
    of = {}
    for image in images:
        parts = PurePosixPath(image).parts[:-1]
        deep = choices.level or len(parts)
        telling = telling_folders("/".join((*parts[:deep], "x")), choices)
        if telling and deep <= len(parts):
            of[image] = "/".join(telling)
    return Patients(of, "a folder names the patient, as was asked")


def _by_name_asked(images: Sequence[str]) -> Patients:
    lead = {image: match[1] for image in images if (match := LEADING.match(PurePosixPath(image).name))}
    return Patients(lead, "the beginning of a file's name names the patient, as was asked")


def _guessed(images: Sequence[str], headers: Mapping[str, Header], choices: Choices) -> Patients:
    """Returns who the paths name where only one reading of them makes sense, else every image and a finding."""
    folders = {image: telling_folders(image, choices) for image in images}
    by_folder, of = folder_guess(images, folders)
    if by_folder == "patient":
        return Patients(of, f"the folder of an image names the patient, as in {min(of.values())}")
    lead = name_guess(images, folders)
    if by_folder == "doubt" or (lead and any(folders.values()) and by_folder == "groups" and torn_by(lead, folders)):
        return Patients(_each(images), "nothing names the patients for certain", tuple(_doubt(images)))
    if lead:
        return Patients(
            lead, f"the beginning of a file's name names the patient, as in {min(lead.values())}: check that"
        )
    mixed = [image for image in images if headers.get(image)]
    if mixed:
        what = f"of {len(images)} images are DICOM and the others are not: PatientID names some patients only"
        return Patients(_each(images), "nothing names the patients", tuple(error("patient-mixed", what, CHOICE, mixed)))
    return _each_image(images)


def _each(images: Sequence[str]) -> dict[str, str]:
    return {image: image for image in images}


def _each_image(images: Sequence[str]) -> Patients:
    first = originals(images)
    copies = [image for image in images if first[image] != image]
    said = "nothing names the patients: every image counts as one, which is wrong where a woman has several"
    fix = f"Right only where no woman has two. {CHOICE}."
    found = warning("patient-is-image", "images that count as a patient each", fix, count=len(images) - len(copies))
    fix = "Each counts as one patient with its original; leave them out, or that picture weighs more than others."
    found += warning("copies", "images whose names say that they were made from another", fix, copies)
    return Patients(first, said, tuple(found))


def _doubt(images: Sequence[str]) -> list[Finding]:
    depth = min(len(PurePosixPath(image).parts) - 1 for image in images)
    names = [len({PurePosixPath(image).parts[at] for image in images}) for at in range(depth)]
    levels = ", ".join(f"--level {at + 1} would give {count}" for at, count in enumerate(names))
    what = f"images whose patient the folders do not tell for certain{f' ({levels})' if levels else ''}"
    return error("patient-doubt", what, CHOICE, count=len(images))


def _unusable(images: Sequence[str], told: Patients) -> list[Finding]:
    nobody = [image for image in images if image in told.of and is_nobody(told.of[image])]
    broken = [image for image in images if is_broken(told.of.get(image, ""))]
    found = error(
        "patient-nobody", "images whose patient is blank or a word for nobody", f"Fill them. {CHOICE}", nobody
    )
    what = "images whose patient a spreadsheet made a rounded number or an error"
    return found + error("patient-broken", what, "Export the column as text.", broken)


def _zeros(named: set[str]) -> list[Finding]:
    what = "groups of identifiers that differ in leading zeros, case or blanks only"
    fix = "If they are one patient, write them alike; else confirm the source with --patients."
    return error("patient-zeros", what, fix, [" = ".join(group) for group in alike(named)])


def _against_dicom(of: Mapping[str, str], headers: Mapping[str, Header]) -> list[Finding]:
    """Returns where DICOM's PatientID says one patient and the source several, or the other way round."""
    pairs = [(image, headers[image].patient, who) for image, who in of.items() if image in headers]
    parted = disagreements([(tag, who) for _, tag, who in pairs])
    images = [image for image, tag, who in pairs if tag in parted or who in parted]
    what = "images whose patient is not the one of DICOM's PatientID: one of the two is several of the other"
    return error("patient-id-differs", what, "Choose: --patients column or --patients dicom.", images)


def disagreements(pairs: Sequence[tuple[str, str]]) -> set[str]:
    """Returns the PatientIDs that several patients have, and the patients who have several PatientIDs.

    Blank ones count for nothing, and so do PatientIDs that are different in every file, for they name no patient.
    """
    known = [(tag, who) for tag, who in pairs if not is_nobody(tag)]
    tags = [tag for tag, _ in known]
    of_tag: dict[str, set[str]] = defaultdict(set)
    of_who: dict[str, set[str]] = defaultdict(set)
    for tag, who in known:
        of_tag[tag].add(who)
        of_who[who].add(tag)
    several = {tag for tag, some in of_tag.items() if len(some) > 1}
    if len(set(tags)) < len(tags):
        several |= {who for who, some in of_who.items() if len(some) > 1}
    return several
