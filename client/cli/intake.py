"""``oncofed-site data init``: a first manifest from what is there, or what a person has to decide first."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cli.envelope import Json, print_json
from common.cli.guard import say
from common.errors import DataError, UsageError

if TYPE_CHECKING:
    from common.data.intake.proposal import Proposal

SOURCES = ("column", "dicom", "folder", "name", "image")


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images or DICOM files.")],
    labels: Annotated[
        Path | None, typer.Option(help="Table with a row an image, lesion, breast or patient, and their labels.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New manifest [default: manifest.csv in FOLDER].")] = None,
    image_column: Annotated[str, typer.Option(help="Column that names the images.", show_default=False)] = "",
    label_column: Annotated[str, typer.Option(help="Column that holds the labels.", show_default=False)] = "",
    patient_column: Annotated[str, typer.Option(help="Column that names the patients.", show_default=False)] = "",
    malignant: Annotated[
        list[str] | None, typer.Option(help="Value of that column, or folder, that is malignant; may be given again.")
    ] = None,
    benign: Annotated[
        list[str] | None, typer.Option(help="Value of that column, or folder, that is benign; may be given again.")
    ] = None,
    patients: Annotated[
        str, typer.Option(help=f"What tells patients apart: {', '.join(SOURCES)}.", show_default=False)
    ] = "",
    level: Annotated[
        int,
        typer.Option(min=0, help="With --patients folder: which folder of a path, 1 the outermost; 0 the innermost."),
    ] = 0,
    keep_split: Annotated[
        bool, typer.Option("--keep-split", help="Folders train, val and test are the split.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Propose a manifest from what is there; shows what was understood, and guesses no label and no patient.

    Where there is doubt it lists the choices, writes nothing and ends with 4.

    Examples:
      oncofed-site data init images --labels diagnoses.csv

      oncofed-site data init images --labels board.csv --label-column biopsy --malignant B5 --benign B2

      oncofed-site data init Dataset_BUSI_with_GT
    """
    from common.cli.writing import check_new
    from common.data.intake.choices import Choices
    from common.data.intake.proposal import propose

    if patients not in ("", *SOURCES):
        raise UsageError(f"--patients {patients} is unknown; expected {', '.join(SOURCES)}")
    path = out or folder / "manifest.csv"
    if folder.is_dir():
        check_new(path, "--out")
    choices = Choices(
        image_column=image_column, label_column=label_column, patient_column=patient_column, level=level,
        malignant=tuple(malignant or ()), benign=tuple(benign or ()), keep_split=keep_split,
        patients=patients,  # type: ignore[arg-type]  # checked above
    )  # fmt: skip
    if folder.is_dir():
        say(f"Reading names, headers and labels in {folder} ...")
    notes = _published(labels)
    for note in notes:
        say(f"note: {note}")
    found = propose(folder, labels, choices)
    written = _write(found, folder, path) if found.certain else ""
    if as_json:
        print_json(_document(found, written, notes), "ok" if found.certain else "failed")
    _say(found)
    if not found.certain:
        raise DataError("Nothing was written: mend or decide what the errors above name, then run init again")
    say(f"Written: {path}, {len(found.records)} images; {_numbers(found)}.")
    say(f"Look through it. Then: {next_command(folder, path)}")


def next_command(folder: Path, manifest: Path) -> str:
    """Returns the command that checks the manifest whose paths start from the folder, as a shell takes it."""
    words = ["oncofed-site", "data", "check", "--root", str(manifest)]
    if manifest.parent.resolve() != folder.resolve():
        words += ["--images", str(folder)]
    return shlex.join(words)


def _write(found: Proposal, folder: Path, path: Path) -> str:
    from common.data.manifest import Dataset, write_manifest
    from common.data.pixels.images import ImageFiles

    write_manifest(Dataset(path.stem, found.records, read=ImageFiles(folder)), path)
    return str(path)


def _say(found: Proposal) -> None:
    for line in found.understood:
        say(f"understood: {line}")
    for reason, number in found.left_out.items():
        say(f"left out: {number} images, {reason}")
    for finding in found.findings:
        say(finding.line())


def _numbers(found: Proposal) -> str:
    numbers = Counter({record.patient: record.label for record in found.records}.values())
    return f"{numbers[1]} malignant and {numbers[0]} benign patients"


def _published(table: Path | None) -> list[str]:
    """Returns the note that a reader knows the table, none where none does."""
    if table is None or not table.is_file():
        return []
    from common.data.files.delimited import read_table
    from common.data.readers.known import layout_of

    name = layout_of(read_table(table).header)
    root = table.parent.parent if table.parent.name == "tables" else table.parent
    command = shlex.join(["oncofed-site", "data", "check", "--data", name, "--root", str(root)])
    return [f"{table.name} has the columns of {name}. To read it by that set's own rules: {command}"] if name else []


def _document(found: Proposal, written: str, notes: list[str]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "written": written or None,
        "notes": notes,
        "images": len(found.records),
        "understood": list(found.understood),
        "left_out": dict(found.left_out),
        "findings": [finding.document() for finding in found.findings],
    }
