"""``oncofed-site read`` as a process: what it refuses, what it hides, what it keeps, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from typer.testing import CliRunner

from client.cli.main import app
from common.inference.package import Package
from common.inference.record import records
from tests.client.reader.conftest import ODD, Served, patients, served

HEAVY = {"torch", "monai", "matplotlib", "onnxruntime", "torchvision", "scipy"}


@pytest.fixture(scope="module")
def cookie(reading: Served) -> str:
    return reading.cookie()


class Reader:
    """A reader without a browser."""

    def __init__(self, page: Served, cookie: str) -> None:
        self.page, self.cookie = page, cookie

    def get(self, path: str) -> tuple[int, str]:
        status, _, text = self.page.ask(path, cookie=self.cookie)
        return status, text

    def json(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.get(path)[1])
        return document

    def exam(self, name: str) -> str:
        found: str = next(row["id"] for row in self.json("/worklist.json")["exams"] if row["name"] == name)
        return found

    def say(self, exam: str, step: str, answer: str, **headers: str) -> int:
        form = {"cookie": self.cookie, "content_type": "application/x-www-form-urlencoded"} | headers
        return self.page.ask(f"/exams/{exam}/{step}", "POST", urlencode({"answer": answer}), **form)[0]

    def names(self) -> list[str]:
        return [row["name"] for row in patients(self.json("/worklist.json")["exams"])]


@pytest.fixture(scope="module")
def reader(reading: Served, cookie: str) -> Reader:
    return Reader(reading, cookie)


def test_nothing_of_an_answer_is_told_before_the_blind_reading(reader: Reader, reading: Served) -> None:
    name = reader.names()[5]
    exam = reader.exam(name)
    _, page = reader.get(f"/exams/{exam}")
    document = reader.json(f"/exams/{exam}.json")
    record = next(one for one in records(reading.home / "records.jsonl").records if one.exam == name)
    assert document["stage"] == "reading" and document["result"] is None and len(document["images"]) >= 1
    assert all(image["attention"] is None for image in document["images"])
    assert reader.get(f"/exams/{exam}/attention/1.png")[0] == 409
    assert record.probability is not None and record.logit is not None
    row = next(one for one in reader.json("/worklist.json")["exams"] if one["id"] == exam)
    assert row["state"] == "new" and row["model"] is None
    line = reader.get("/")[1].partition(f'href="/exams/{exam}"')[2].partition("</li>")[0]
    assert "New" in line
    told = page + json.dumps(document) + json.dumps(row) + line
    for secret in (f"{record.probability:.2f}", f"{record.probability:.4f}"[1:], f"{record.logit:.3f}", record.record,
                   "the threshold", "abstain", "No answer", "attention/"):  # fmt: skip
        assert secret not in told
    assert reader.say(exam, "verdict", "agree") == 409 and reader.say(exam, "reading", "agree") == 409
    assert reader.json(f"/exams/{exam}.json")["result"] is None
    assert reader.say(exam, "reading", "benign") == 303
    shown = reader.json(f"/exams/{exam}.json")
    assert shown["result"]["probability"] == record.probability and shown["reading"]["blind"]
    assert f"{record.probability:.2f}" in reader.get(f"/exams/{exam}")[1]
    assert reader.get(f"/exams/{exam}/attention/1.png")[0] == 200
    kept = len(reading.readings())
    assert reader.say(exam, "reading", "benign") == 303 and len(reading.readings()) == kept  # sent twice
    assert reader.say(exam, "reading", "malignant") == 409  # a blind reading stays as it is
    assert reader.json(f"/exams/{exam}.json")["reading"]["answer"] == "benign"


def test_an_abstention_has_no_figure_and_an_unreadable_exam_no_form(reader: Reader, reading: Served) -> None:
    blank, cut = reader.exam(ODD), reader.exam("cut")
    assert reader.say(blank, "reading", "cannot-tell") == 303
    result = reader.json(f"/exams/{blank}.json")["result"]
    assert (result["answered"], result["probability"], result["above_threshold"]) == (False, None, None)
    assert result["reasons"][0] == {"code": "blank-image", "words": "an image shows one value only"}
    assert reader.say(blank, "verdict", "agree") == 303
    document = reader.json(f"/exams/{cut}.json")
    assert document["stage"] == "nothing" and document["result"]["reasons"][0]["code"] == "unreadable"
    assert reader.say(cut, "reading", "benign") == 409
    labels = reading.home / "monitor" / "labels.jsonl"
    assert not labels.exists() or ODD not in labels.read_text()  # cannot tell is nobody's label


def test_each_exam_leaves_one_record_however_often_it_is_opened(reader: Reader, reading: Served) -> None:
    name = reader.names()[6]
    exam = reader.exam(name)
    for _ in range(3):
        assert reader.get(f"/exams/{exam}")[0] == 200
    assert [one.exam for one in records(reading.home / "records.jsonl").records].count(name) == 1


def test_another_address_another_page_and_a_used_token_are_refused(reader: Reader, reading: Served) -> None:
    exam = reader.exam(reader.names()[7])
    start = reading.start.removeprefix(reading.base)
    assert reading.ask(start)[0] == 403
    assert reading.ask("/")[0] == 403 and reading.ask(f"/exams/{exam}/images/1.png")[0] == 403
    assert reading.ask("/", cookie=reader.cookie, host="evil.example")[0] == 421
    assert reader.say(exam, "reading", "benign", sec_fetch_site="cross-site") == 403
    assert reader.say(exam, "reading", "benign", origin="http://evil.example") == 403
    assert reader.json(f"/exams/{exam}.json")["stage"] == "reading"
    assert reading.ask(f"/exams/{exam}/reading", "PUT", cookie=reader.cookie)[0] == 405
    status, text = reader.get("/exams/0000")
    assert status == 503 and "worklist" in text
    assert reader.get("/nothing")[0] == 404 and reader.get("/static/../app.py")[0] == 404
    for images in ("images/0.png", "images/99.png", "attention/1.png"):
        assert reader.get(f"/exams/{exam}/{images}")[0] in (404, 409)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_no_address_beyond_this_machine_is_listened_at(made: Package, exams: Path, tmp_path: Path, host: str) -> None:
    words = ["read", "--reader", "A", "--in", exams, "--out", tmp_path, "--package", made.folder, "--host", host]
    done = CliRunner().invoke(app, [*map(str, words), "--home", str(tmp_path / "none")])
    assert done.exit_code == 2 and "this machine alone" in done.stderr


def test_a_reading_that_cannot_be_kept_shows_nothing(reader: Reader, reading: Served) -> None:
    exam = reader.exam(reader.names()[0])
    journal, aside = reading.home / "readings.jsonl", reading.home / "aside"
    if journal.exists():
        journal.rename(aside)
    journal.mkdir()  # no place to write to
    assert reader.say(exam, "reading", "benign") == 503
    assert reader.json(f"/exams/{exam}.json")["result"] is None
    journal.rmdir()
    if aside.exists():
        aside.rename(journal)
    assert reader.say(exam, "reading", "malignant") == 303


def test_an_image_that_ends_its_reader_takes_one_page_with_it(reader: Reader, reading: Served) -> None:
    exam = reader.exam(reader.names()[1])
    kill_worker(reading)
    statuses = [reader.get(f"/exams/{exam}")[0] for _ in range(2)]
    assert statuses[-1] == 200 and 503 in statuses


def test_what_was_kept_is_known_to_the_next_start_which_ends_well(
    made: Package, exams: Path, reader: Reader, reading: Served
) -> None:
    exam = reader.exam(reader.names()[2])
    assert reader.say(exam, "reading", "malignant") == 303 and reader.say(exam, "verdict", "disagree") == 303
    began, told = len(reading.readings()), (reading.home / "monitor" / "labels.jsonl").read_text()
    page = served(made, reading.home, exams, "--no-blind")
    again = Reader(page, page.cookie())
    row = next(one for one in again.json("/worklist.json")["exams"] if one["id"] == exam)
    assert (row["state"], row["reading"]["answer"], row["verdict"]["answer"]) == ("read", "malignant", "disagree")
    other = again.exam(again.names()[3])
    assert again.json(f"/exams/{other}.json")["result"] is not None  # as --no-blind says
    assert again.say(other, "reading", "benign") == 303 and not page.readings()[-1]["blind"]
    assert len(page.readings()) == began + 1
    assert (reading.home / "monitor" / "labels.jsonl").read_text() == told
    left = psutil.Process(page.process.pid).children(recursive=True)
    assert page.end() == 0
    psutil.wait_procs(left, timeout=60)
    assert not any(one.is_running() for one in left)


def kill_worker(page: Served) -> None:
    """Ends the process that reads images, as a decoder that crashes does."""
    for child in psutil.Process(page.process.pid).children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
            psutil.wait_procs([child], timeout=60)


def test_the_process_of_the_pages_loads_no_network(project_root: Path) -> None:
    code = (
        "import json, sys, client.reader.serve; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & HEAVY
