"""``oncofed-site predict``: what the model says of exams, or why it says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.privacy import Home
from common.cli.guard import say

if TYPE_CHECKING:
    from common.inference.exams import Exam
    from common.inference.package import Package
    from common.inference.predict import Prediction

COLUMNS = f"{'exam':32} {'probability':>11} {'threshold':>9}  answer"


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command()(predict)


def predict(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Images, or folders of them.", show_default=False)
    ] = None,
    folder: Annotated[Path | None, typer.Option("--in", help="A folder of images.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results and pictures.", show_default=False)] = None,
    package: Annotated[
        Path | None, typer.Option(help="Folder of a model package [default: the active one].", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Processor threads of the network.")] = 1,
    as_dicom: Annotated[
        bool, typer.Option("--dicom", help="Write the results of DICOM exams as DICOM objects into --out too.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object an exam and line, on stdout.")] = False,
    home: Home = None,
) -> None:
    """Give each exam one probability, or say why there is no answer. Research use only.

    DICOM (ultrasound, mammograms), PNG, JPEG and TIFF are read as for training. DICOM files of one study are one exam;
    other images in one folder below the given one are one exam; images that lie loose are an exam each.

    Ends with 4 where there is no image, or none that can be read.

    Examples:
      oncofed-site predict --package packages/busbra image.png

      oncofed-site predict --in exams --out results --dicom
    """
    from client.site.predicting import read_exams, reading, unread
    from client.site.site_file import site_home
    from common.cli.progress import counted
    from common.cli.writing import make_folder
    from common.errors import DataError, UsageError
    from common.inference.exams import find_exams
    from common.inference.reasons import Reason

    places = [*(paths or []), *([folder] if folder is not None else [])]
    if not places:
        raise UsageError("Name images or folders, or a folder with --in")
    if as_dicom and out is None:
        raise UsageError("--dicom writes files; name their folder with --out")
    found = find_exams(places)
    if out is not None:
        make_folder(out, "--out")
    using = reading(site_home(home).path, package, out, threads)
    if using.problem:
        say(using.problem)
    _begin(using.active.package.manifest.name, using.active.told(), json_)
    done, nothing = counted(len(found.exams), "exams"), []
    results = zip(found.exams, read_exams(found.exams, using), strict=True)
    for number, (exam, (prediction, document)) in enumerate(results, start=1):
        _show(prediction, document, json_)
        if as_dicom and out is not None:
            _write_dicom(exam, prediction, using.active.package, site_home(home).path, out)
        nothing.append(Reason.UNREADABLE in prediction.record.reasons)
        done(number)
    _end(len(nothing), sum(nothing), found.left_out, using.records is not None)
    if unread(nothing):
        raise DataError("None of these exams could be read whole; nothing was scored. Export the images again")


def _write_dicom(exam: Exam, prediction: Prediction, package: Package, home: Path, out: Path) -> None:
    """Writes the exam's report and pictures as DICOM; an exam of other pictures gets none."""
    from client.node.pacs_read import device_uid, objects_of, write_objects
    from client.site.predicting import file_name
    from common.inference.dicom_origin import Device

    device = Device(device_uid(home / "pacs" if home.is_dir() else out))
    objects = objects_of(exam.files, prediction, package, device)
    write_objects(objects, out, file_name(exam.key, prediction.record.record))


def _begin(name: str, told: str, json_: bool) -> None:
    from common.cli.terminal import printable
    from common.notice import RESEARCH_USE

    if not json_:
        print(f"{RESEARCH_USE}. Model {printable(name)}{f'; {told}' if told else ''}.")
        print(COLUMNS, flush=True)


def _show(prediction: Prediction, document: dict[str, Any], json_: bool) -> None:
    print(json.dumps(document) if json_ else row(prediction), flush=True)


def row(prediction: Prediction) -> str:
    """Returns the line of one exam; where there is no answer no figure is shown."""
    from common.cli.terminal import printable

    record = prediction.record
    exam = printable(record.exam)
    name = exam if len(exam) <= 32 else f"{exam[:29]}..."
    if record.abstained or record.probability is None:
        return f"{name:32} {'-':>11} {record.threshold:9.3f}  NO ANSWER: {', '.join(record.reasons)}"
    side = "above" if record.above_threshold else "below"
    sets = f"; {' or '.join(record.set)}" if record.set else ""
    marks = "; marks in the image" if any(line.startswith("text or calipers") for line in prediction.told) else ""
    return f"{name:32} {record.probability:11.3f} {record.threshold:9.3f}  {side} the threshold{sets}{marks}"


def _end(exams: int, unreadable: int, left_out: int, kept: bool) -> None:
    """Says how it went, in counts only: this may stand in a log."""
    say(f"{exams} exams, {unreadable} of them unreadable; {left_out} other files left out.")
    if not kept:
        say("No record was kept: there is no site here and no --out.")
