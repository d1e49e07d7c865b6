"""Which exams a reader is shown, and which answers are taken to be of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from client.reader.worklist import SPOOL, Source, check, digests, exam_id, find, listed, same
from common.errors import DataError, UsageError
from common.inference.exams import find_exams
from common.inference.record import InferenceRecord
from tests.exams_as_dicom import result, source, write_exam


def answer(exam: str, inputs: tuple[str, ...], number: int) -> InferenceRecord:
    return dataclasses.replace(result(number=number).record, exam=exam, inputs=inputs)


def image(pictures: Path) -> Path:
    return next(pictures.rglob("*.png"))


def test_an_exam_is_shown_with_the_record_of_its_own_files(pictures: Path, tmp_path: Path) -> None:
    twins = [tmp_path / "a" / "one.png", tmp_path / "b" / "one.png"]
    others = sorted(pictures.rglob("*.png"))
    for place, other in zip(twins, others, strict=False):
        place.parent.mkdir()
        shutil.copy(other, place)
    exams = find_exams(twins).exams
    assert [exam.key for exam in exams] == ["one", "one"]
    inputs = [digests(exam) for exam in exams]
    records = [answer("one", inputs[1], 1), answer("one", inputs[0], 2), answer("one", inputs[1], 3)]
    found = [row.known.record if row.known else None for row in listed(exams, records)]
    assert found == [f"{2:032x}", f"{3:032x}"]
    assert same([answer("another", inputs[0], 4)], exams[0], inputs[0]) is None
    assert same(records, exams[0], inputs[0], "ef" * 32) is None


def test_an_exam_keeps_its_address_while_its_files_stay(pictures: Path, tmp_path: Path) -> None:
    names = {exam_id(exam) for exam in find_exams([pictures]).exams}
    assert names == {exam_id(exam) for exam in find_exams([pictures]).exams} and len(names) == 12
    assert all(len(name) == 16 and exam.key not in name for name in names for exam in find_exams([pictures]).exams)


def test_results_name_their_exams_and_images_that_are_gone_are_counted(pictures: Path, tmp_path: Path) -> None:
    out, case = tmp_path / "out", tmp_path / "case"
    out.mkdir()
    case.mkdir()
    for name in ("1.png", "2.png"):
        shutil.copy(image(pictures), case / name)
    for name, paths in (("one", ["1.png", "2.png"]), ("again", ["1.png", "2.png"]), ("lost", ["3.png"])):
        document = {"exam": "case", "patient": "P", "paths": [str(case / path) for path in paths]}
        (out / f"{name}.json").write_text(json.dumps(document))
    (exam,), gone = find(Source(home=tmp_path / "none", out=out))
    assert (exam.key, exam.patient, len(exam.files), gone) == ("case", "P", 2, 1)
    (out / "old.json").write_text('{"exam": "case"}')
    with pytest.raises(DataError, match=r"old\.json"):
        find(Source(home=tmp_path / "none", out=out))


def test_a_listeners_spool_may_be_empty_and_its_studies_are_exams(tmp_path: Path) -> None:
    listening = Source(home=tmp_path)
    with pytest.raises(UsageError, match="--in"):
        check(listening)
    (tmp_path / SPOOL).mkdir(parents=True)
    check(listening)
    assert find(listening) == ((), 0)
    (tmp_path / SPOOL / "study").mkdir()
    first = source("US", AccessionNumber="A7")
    second = source("US", AccessionNumber="A7", StudyInstanceUID=first.StudyInstanceUID)
    write_exam(tmp_path / SPOOL / "study", [first, second])
    (exam,), gone = find(listening)
    assert (exam.key, len(exam.files), gone) == ("A7", 2, 0)


def test_answers_need_a_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out"):
        check(Source(home=tmp_path / "none", places=(tmp_path,)))
    assert Source(home=tmp_path / "none", out=tmp_path / "out").keeps == tmp_path / "out"
    assert Source(home=tmp_path, out=tmp_path / "out").keeps == tmp_path
