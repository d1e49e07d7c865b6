"""A real hospital is opened from its own files, and its patients are not read for a request that is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from client.cli.main import app
from client.node.join import join
from client.site.cohort_opening import open_for_checks
from client.site.policy import SitePolicy, load_policy
from client.site.site_file import SiteData, SiteHome, open_data, open_real_site
from common.config.study import StudyConfig
from common.errors import ConfigError, DataError, SiteCode, TrustError
from common.protocol.messages import Request
from common.trust.hub_key import hub_fingerprint
from common.trust.kit import Kit, write_kit
from common.trust.pki import certificate_facts, create_authority
from tests.common.data.layouts_screening import rsna, rsna_row

STUDY = StudyConfig(name="mammae")
REQUEST = Request(purpose="enrol", study=STUDY, run="ab")


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    """A hospital that has joined, with a manifest that does not exist."""
    create_authority(tmp_path / "ca.key", tmp_path / "ca.crt", "consortium")
    kit = Kit(
        site="north", hub="hub.example.org:9443", hub_key="cd" * 32, invitation="ab" * 16, study_digest=STUDY.digest(),
        study=STUDY.travelling(), ca=(tmp_path / "ca.crt").read_text(),
    )  # fmt: skip
    write_kit(tmp_path / "kit.zip", kit)
    place = SiteHome(tmp_path / "home")
    join(place, tmp_path / "kit.zip")
    settings = yaml.safe_load(place.site_file.read_text())
    settings["declared_patients"] = 100
    settings["data"]["root"] = str(tmp_path / "no-such-manifest.csv")
    place.site_file.write_text(yaml.safe_dump(settings))
    return place


def opened(home: SiteHome, **changes: object) -> None:
    """Writes a policy that allows the study and the kit's hub, but for the changes."""
    policy = {
        "ceiling": 10.0, "models": ["*"], "studies": ["*"], "modes": ["local"],
        "hubs": [certificate_facts(home.ca).fingerprint],
    }  # fmt: skip
    (home.path / "policy.yaml").write_text(yaml.safe_dump(policy | changes))


def test_a_refused_request_reads_no_patient(home: SiteHome) -> None:
    """The manifest does not exist: whoever looked would say so instead."""
    opened(home, models=[])
    with pytest.raises(TrustError, match="model") as refused:
        open_real_site(home).enrol(REQUEST)
    assert refused.value.code is SiteCode.POLICY_REFUSED


def test_an_allowed_request_reads_the_patients(home: SiteHome) -> None:
    opened(home)
    site = open_real_site(home)
    assert site.name == "north"
    with pytest.raises((DataError, ConfigError), match="no-such-manifest"):
        site.enrol(REQUEST)


@pytest.mark.parametrize("hubs", [[], ["00" * 32]])
def test_a_hub_that_the_policy_does_not_name_is_refused(home: SiteHome, hubs: list[str]) -> None:
    opened(home, hubs=hubs)
    with pytest.raises(TrustError, match="hub") as refused:
        open_real_site(home)
    assert refused.value.code is SiteCode.POLICY_REFUSED


def test_joining_pins_the_hubs_key_and_a_home_without_one_answers_nobody(home: SiteHome) -> None:
    opened(home)
    assert open_real_site(home).hub_key == "cd" * 32
    for damage in (
        home.hub_key.unlink,
        lambda: home.hub_key.write_text("cd"),
        lambda: home.hub_key.write_bytes(b"\xff"),
    ):
        damage()
        with pytest.raises(TrustError, match="hub") as refused:
            open_real_site(home)
        assert refused.value.code is SiteCode.POLICY_REFUSED


def test_a_new_key_is_pinned_by_one_command(home: SiteHome) -> None:
    opened(home)
    command = ["trust-hub", "AB" * 32, "--home", str(home.path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and hub_fingerprint("ab" * 32) in done.output
    assert open_real_site(home).hub_key == "ab" * 32
    assert CliRunner().invoke(app, ["trust-hub", "no key", "--home", str(home.path)]).exit_code == TrustError.exit_code
    assert open_real_site(home).hub_key == "ab" * 32


def test_another_authority_in_the_same_home_is_refused(home: SiteHome, tmp_path: Path) -> None:
    opened(home)
    create_authority(tmp_path / "other.key", home.ca, "somebody else")
    with pytest.raises(TrustError, match="hub"):
        open_real_site(home)


def test_a_fingerprint_may_be_written_as_openssl_writes_it(home: SiteHome) -> None:
    plain = certificate_facts(home.ca).fingerprint.upper()
    opened(home, hubs=[":".join(plain[start : start + 2] for start in range(0, 64, 2))])
    assert open_real_site(home).name == "north"


def test_joining_leaves_a_closed_policy_that_tells_what_to_write(home: SiteHome) -> None:
    text = (home.path / "policy.yaml").read_text()
    closed = dataclasses.replace(load_policy(home.path / "policy.yaml"))
    assert closed == SitePolicy()
    assert certificate_facts(home.ca).fingerprint in text and STUDY.digest() in text


def test_without_its_seed_a_site_divides_nobody(tmp_path: Path) -> None:
    """Before, a line that was lost from site.yaml had patients divided by a seed that everybody knows."""
    for number in range(60):
        (tmp_path / f"{number}.png").touch()
    rows = [(f"{number}.png", f"p{number}", ("benign", "malignant")[number % 2]) for number in range(60)]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("image,patient,label\n" + "".join(f"{','.join(row)}\n" for row in rows))
    data = SiteData(root=str(manifest))
    for read in (open_data, open_for_checks):
        with pytest.raises(ConfigError, match=r"split_seed.*backup"):
            read(data)
    assert open_data(dataclasses.replace(data, split_seed=7)).records
    places = ("train", "train", "val", "val", "test", "test")
    lines = "".join(f"{','.join(row)},{places[number % 6]}\n" for number, row in enumerate(rows))
    manifest.write_text(f"image,patient,label,split\n{lines}")
    assert open_data(data).records


def test_a_site_says_itself_whether_images_without_a_lesion_count(tmp_path: Path) -> None:
    root = rsna(tmp_path, [rsna_row(str(100 + n), str(n), "L", n % 2, int(n < 20)) for n in range(20)] + [
        rsna_row(str(200 + n), str(50 + n), "L", 0, 0) for n in range(10)
    ])  # fmt: skip
    women = [
        open_data(SiteData(name="rsna", root=str(root), include_normal=normal, split_seed=7)).patients()
        for normal in (False, True)
    ]
    assert [len(of) for of in women] == [20, 30]
