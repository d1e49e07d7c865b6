"""An audit passes the code as it is, and catches each bug that is planted in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import common.training.loop as training_module
from client.site.hospital import Cohort, Site
from client.site.policy import SitePolicy
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import ConfigError
from common.privacy.engine import BookKeepingEngine
from common.privacy.layers import Patients
from common.privacy.ledger import Ledger
from common.privacy.optimizer import PatientOptimizer
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.stream import SecretStream
from simulations.audit.audit_page import audit_page
from simulations.audit.study import AuditOptions, audit_site, hospital_randomness

STUDY = StudyConfig(
    name="audited",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=32),
    training=TrainingConfig(rounds=4, local_steps=8, batch_patients=20, lr=0.5),
    privacy=PrivacyConfig(epsilon=3.0, accountant="rdp", max_images=4),
)
OPTIONS = AuditOptions(canaries=20, worst_case=300, models=0)
Document = dict[str, Any]


@pytest.fixture(scope="module")
def data() -> PatientTensors:
    """Forty patients of one or two images, twelve columns each."""
    generator = torch.Generator().manual_seed(0)
    of = torch.sort(torch.cat([torch.arange(40), torch.randint(0, 40, (20,), generator=generator)])).values
    labels = torch.randint(0, 2, (40,), generator=generator).float()
    return PatientTensors(
        torch.rand((60, 12), generator=generator) * 2 - 1, labels[of], of, tuple(f"p{i}" for i in range(40))
    )


@pytest.fixture
def site(data: PatientTensors, tmp_path: Path) -> Site:
    """The site that holds them, and declares forty."""
    return Site(
        name="site_1",
        declared_patients=40,
        cohort=Cohort(train_patients=data.patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(10.0),
        randomness=hospital_randomness,
        home=tmp_path,
        ledger_path=tmp_path / "ledger.sqlite",
    )


def _failed(site: Site, data: PatientTensors, options: AuditOptions = OPTIONS) -> set[str]:
    document = audit_site(site, STUDY, data, options)
    failed = {check["name"] for check in document["checks"] if not check["passed"]}
    assert document["passed"] == (not failed)
    return failed


def test_the_code_as_it_is_passes_and_the_audit_leaves_nothing_at_the_site(
    site: Site, data: PatientTensors, tmp_path: Path
) -> None:
    document = audit_site(site, STUDY, data, dataclasses.replace(OPTIONS, models=4, worst_case=600))
    assert document["passed"], [check for check in document["checks"] if not check["passed"]]
    worst = document["canaries"]["worst_case"]
    assert 0.2 < worst["epsilon"] < worst["estimate"] < 4.5
    assert document["attack"]["private"]["low"] < 0.6
    assert list(tmp_path.iterdir()) == []
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    page = audit_page(document)
    assert f"{len(document['checks'])} of {len(document['checks'])} checks passed" in page
    assert "Research use only - not a medical device" in page


def test_noise_that_is_off_is_caught(site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(self: PatientOptimizer) -> None:
        for parameter in self.params:
            parameter.grad = parameter.summed_grad / self.expected_batch_size

    monkeypatch.setattr(PatientOptimizer, "noisy_gradient", silent)
    assert _failed(site, data) >= {
        "noise on empty batches", "noise on patients", "noise is fresh and unseeded", "the ledger covers what ran",
        "worst-case canaries", "worst-case canaries, Gaussian fit",
    }  # fmt: skip


def test_half_the_noise_is_caught_even_by_the_attack(
    site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PrivacyPlan.optimizer

    def half(self: PrivacyPlan, inner: torch.optim.Optimizer, stream: SecretStream) -> PatientOptimizer:
        return whole(dataclasses.replace(self, noise_multiplier=self.noise_multiplier / 2), inner, stream)

    monkeypatch.setattr(PrivacyPlan, "optimizer", half)
    assert _failed(site, data, dataclasses.replace(OPTIONS, worst_case=1200)) >= {
        "noise on empty batches", "noise on patients", "the ledger covers what ran",
        "worst-case canaries, Gaussian fit",
    }  # fmt: skip


def test_clipping_by_image_is_caught(site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BookKeepingEngine.clipped_sum

    def by_image(self: BookKeepingEngine, inputs: Any, row_loss: Any, patients: Patients, clip_norm: float) -> Any:
        images = len(patients.of_row)
        return whole(self, inputs, row_loss, Patients(torch.arange(images), images), clip_norm)

    monkeypatch.setattr(BookKeepingEngine, "clipped_sum", by_image)
    assert _failed(site, data) == {"one patient moves the sum by at most C"}


def test_no_clipping_is_caught(site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BookKeepingEngine.clipped_sum
    monkeypatch.setattr(
        BookKeepingEngine, "clipped_sum", lambda self, i, loss, patients, clip: whole(self, i, loss, patients, 1e9)
    )
    assert "one patient moves the sum by at most C" in _failed(site, data)


def test_a_fresh_accountant_each_round_is_caught(
    site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Ledger.__init__
    opened = iter(range(1000))

    def fresh(self: Ledger, path: Path, **others: Any) -> None:
        whole(self, path.with_name(f"{next(opened)}-{path.name}"), **others)

    monkeypatch.setattr(Ledger, "__init__", fresh)
    assert _failed(site, data) == {"the ledger covers what ran"}


def test_a_batch_size_from_the_private_count_is_caught(
    site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Site._plan

    def counted(self: Site, study: StudyConfig) -> PrivacyPlan:
        plan = whole(self, study)
        assert plan is not None
        return dataclasses.replace(plan, expected_batch_patients=plan.sampling_rate * len(self.cohort.train_patients))

    monkeypatch.setattr(Site, "_plan", counted)
    assert _failed(site, data) == {"divisor and noise are public"}


def test_a_divisor_from_the_batch_is_caught(site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Opacus, whose divisor is a count of the private data set."""
    whole = training_module._PrivateStep.__call__

    def counted(self: Any, model: Any, data: Any, batch: Any, training: Any, randomness: Any) -> None:
        self._optimizer.expected_batch_size = max(1, sum(part.patients.count for part in batch))
        whole(self, model, data, batch, training, randomness)

    monkeypatch.setattr(training_module._PrivateStep, "__call__", counted)
    assert _failed(site, data) >= {"noise on empty batches", "divisor and noise are public"}


def test_empty_batches_that_are_skipped_are_caught(
    site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training_module._batches

    def skipping(*arguments: Any) -> Iterator[Any]:
        return (batch for batch in whole(*arguments) if batch)

    monkeypatch.setattr(training_module, "_batches", skipping)
    assert "empty batches are steps" in _failed(site, data)


def test_empty_batches_without_noise_are_caught(
    site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training_module._PrivateStep.__call__

    def quiet(self: Any, model: Any, data: Any, batch: Any, training: Any, randomness: Any) -> None:
        whole(self, model, data, batch, training, randomness)
        if not batch:
            for parameter in model.parameters():
                parameter.grad.zero_()

    monkeypatch.setattr(training_module._PrivateStep, "__call__", quiet)
    assert "noise on empty batches" in _failed(site, data)


def _of_a_seed(purpose: str, round_index: int) -> Randomness:
    return Randomness.from_seed(0, purpose, round_index)


def _of_a_seed_that_is_denied(purpose: str, round_index: int) -> Randomness:
    return dataclasses.replace(_of_a_seed(purpose, round_index), seeded=False)


def _of_the_global_seed(purpose: str, round_index: int) -> Randomness:
    """Fresh draws of patients; noise of whoever calls torch.manual_seed."""
    key = bytes(torch.randint(0, 256, (32,), generator=torch.default_generator).tolist())
    return dataclasses.replace(Randomness.from_entropy(), noise=SecretStream(key))


def _the_same_each_round(purpose: str, round_index: int) -> Randomness:
    return dataclasses.replace(Randomness.from_entropy(), noise=SecretStream(bytes(range(32))))


@pytest.mark.parametrize(
    "randomness", [_of_a_seed, _of_a_seed_that_is_denied, _of_the_global_seed, _the_same_each_round]
)
def test_noise_that_is_known_is_caught(
    site: Site, data: PatientTensors, randomness: Callable[[str, int], Randomness]
) -> None:
    failed = _failed(dataclasses.replace(site, randomness=randomness), data)
    assert "noise is fresh and unseeded" in failed
    assert ("a round cannot be repeated" in failed) == (randomness in (_of_a_seed, _of_a_seed_that_is_denied))


def test_batches_of_a_fixed_size_are_caught(site: Site, data: PatientTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    def shuffled(self: PrivacyPlan, patients: int, stream: SecretStream) -> Iterator[torch.Tensor]:
        for _ in range(self.steps_per_round):
            yield torch.from_numpy(stream.permutation(patients)[: round(self.sampling_rate * patients)])

    monkeypatch.setattr(PrivacyPlan, "sample", shuffled)
    assert "patients are drawn by chance" in _failed(site, data)


def test_too_few_canaries_and_studies_without_a_claim_are_refused() -> None:
    from simulations.audit.study import audit_study

    with pytest.raises(ConfigError, match="canaries"):
        AuditOptions(canaries=3)
    with pytest.raises(ConfigError, match="--models 4"):
        AuditOptions(models=2)
    study = dataclasses.replace(STUDY, privacy=PrivacyConfig(mode="none"))
    with pytest.raises(ConfigError, match="privacy=local"):
        audit_study(study, OPTIONS)


ARGUMENTS = [
    "audit", "data.patients=80", "data.image_size=8", "model.width=4", "training.rounds=2", "training.local_steps=4",
    "training.batch_patients=10", "privacy.accountant=rdp", "--canaries=20", "--worst-case=200", "--models=0", "--json",
]  # fmt: skip


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    from simulations.cli.main import app

    result = CliRunner().invoke(app, [*ARGUMENTS, "--out", str(tmp_path / "audit")])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["status"] == "ok"
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == document["data"]
    assert "checks passed" in (tmp_path / "audit" / "audit.html").read_text()
    assert "PASS" in result.stderr and "Research use only" in result.stderr


def test_a_failed_audit_exits_with_trust_and_still_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulations.audit import study as audit_module
    from simulations.cli.main import app

    monkeypatch.setattr(audit_module, "hospital_randomness", _of_a_seed)
    result = CliRunner().invoke(app, ARGUMENTS)
    assert result.exit_code == 5
    document = json.loads(result.stdout)
    assert document["status"] == "failed" and not document["data"]["passed"]
    assert "FAIL" in result.stderr and "a round cannot be repeated" in result.stderr
