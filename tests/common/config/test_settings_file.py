"""Files that people edit are understood, or refused in words; never a traceback, never half of what they say."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from client.app import _respond
from client.site.forecast import read_study
from client.site.policy import load_policy
from client.site.site_file import HOME_VARIABLE, SiteHome
from common.config.settings_file import settings_text
from common.errors import ConfigError
from server.hub.home import HubHome

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
ODD = {
    "references to references": LAUGHS.encode(),
    "an umlaut in another encoding": "# für die Klinik\nname: north\n".encode("latin-1"),
    "a date that is none": b"name: 2026-13-45\n",
    "a date": b"name: 2026-12-24\n",
    "a document in itself": b"name: &a [*a]\n",
    "brackets without end": b"name: " + b"[" * 3000 + b"]" * 3000 + b"\n",
    "a number without end": b"port: " + b"9" * 5000 + b"\n",
    "a key twice": b"name: a\nname: b\n",
    "a key twice, further down": b"data: {root: a, root: b}\n",
    "no text": b"name: a\x00b\n",
    "a set": b"name: !!set {a, b}\n",
    "bytes": b"name: !!binary aGk=\n",
    "an object": b"name: !!python/object/apply:os.getcwd []\n",
    "a list": b"[]\n",
    "a word": b"false\n",
    "a date as a key": b"2026-12-24: x\n",
    "bytes as a key": b"? !!binary aGk=\n: x\n",
    "a truth that is none": b"name: !!bool x\n",
    "a number of nothing": b"port: !!float ''\n",
    "a time that is none": b"name: !!timestamp x\n",
    "two documents": b"name: a\n---\nname: b\n",
}
READERS = {
    "policy.yaml": load_policy,
    "site.yaml": lambda path: SiteHome(path.parent).read(),
    "hub.yaml": lambda path: HubHome(path.parent).config(),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("odd", ODD)
def test_what_cannot_be_understood_is_refused_in_words(tmp_path: Path, name: str, odd: str) -> None:
    (tmp_path / name).write_bytes(ODD[odd])
    with pytest.raises(ConfigError, match=name):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("text", ["restart_seconds: .inf\n", "monitor_port: 9443\n", "monitor_port: 9444\n"])
def test_hub_settings_that_would_break_later_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hub.yaml").write_text(text)
    with pytest.raises(ConfigError):
        HubHome(tmp_path).config()


@pytest.mark.parametrize("text", ["[" * 3000, LAUGHS, "name: &a [*a]\n", "name: a\nname: b\n", "", "{}", "- a"])
def test_a_study_that_a_hub_sends_is_read_or_refused_in_words(tmp_path: Path, text: str) -> None:
    """Before, a kilobyte of references kept the forecast busy for good."""
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"cannot be read as a study|is no study"):
        read_study(tmp_path / "study.yaml")


def test_numbers_are_written_as_everywhere(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-5 for a text, and the policy called it no number."""
    (tmp_path / "policy.yaml").write_text("delta_max: 1e-5\nceiling: 2.5E+0\nstudies: [1e5abc, 12e, 4e3d4e9a]\n")
    policy = load_policy(tmp_path / "policy.yaml")
    assert (policy.delta_max, policy.ceiling, policy.studies) == (1e-5, 2.5, ("1e5abc", "12e", "4e3d4e9a"))


TEXT = "tag:yaml.org,2002:str"


class Quoting(yaml.SafeDumper):
    """Quotes each text: PyYAML leaves ``0E0`` bare, which is a text in YAML 1.1 and a number in 1.2."""

    def represent_data(self, data: Any) -> Any:
        return self.represent_scalar(TEXT, data, style='"') if isinstance(data, str) else super().represent_data(data)


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
@example(document={"0E0": None, "1e5": "2E3"})
def test_what_json_has_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    path = tmp_path_factory.mktemp("yaml") / "settings.yaml"
    path.write_text(yaml.dump(document, Dumper=Quoting), encoding="utf-8")
    assert json.loads(settings_text(path)) == ({} if document is None else document)


def test_an_answer_of_a_site_that_cannot_be_opened_is_in_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, whatever was no error of ours left as `unknown`, and no journal had it."""
    from flwr.app import ConfigRecord, Context, RecordDict

    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr("client.app.open_site", lambda context: 1 / 0)
    asked = RecordDict({"oncofed": ConfigRecord({"claims": "{}"})})
    message: Any = SimpleNamespace(content=asked, has_content=lambda: True)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    monkeypatch.setattr("client.app.Message", lambda content, reply_to: content)
    answer: Any = _respond(message, context, {})
    assert answer["oncofed"]["code"] == "unknown"
    (line,) = (tmp_path / "egress.jsonl").read_text().splitlines()
    assert json.loads(line)["refusal"] == "unknown"


@pytest.mark.parametrize("value", ["1:30", "0100", "+017", "20:00", "1:30.5"])
def test_a_number_that_old_yaml_reads_otherwise_is_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"ceiling: {value}\n")
    with pytest.raises(ConfigError, match="read as another number"):
        settings_text(path)
    path.write_text(f"ceiling: '{value}'\n")
    assert value in settings_text(path)


@pytest.mark.parametrize("value", ["0", "-1", "0.5", "100", "1e-5", "0x10", "1_000"])
def test_plain_numbers_are_read(value: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(f"ceiling: {value}\n")
    assert settings_text(tmp_path / "policy.yaml")
