"""``oncofed-site doctor``: checks what goes wrong in hospitals, each with how to mend it.

A check never raises and never changes anything but an empty ledger, which it may make. ``fail`` keeps the site from
working, ``warn`` will sooner or later, ``ok`` is fine.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from client.checks.finding import Finding, Status
from client.checks.hub_checks import hub_checks
from client.site.site_file import SiteFile, SiteHome
from common.errors import BudgetExceeded, DataError, OncoFedError, TrustError

DISK_GB = 1.0
SILENT = ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK", "HF_HUB_OFFLINE")
"""What keeps a process from telling others what is trained here."""


def examine(home: SiteHome) -> list[Finding]:
    """Returns all findings, in the order in which they should be mended."""
    return list(_findings(home))


def exit_code(findings: list[Finding]) -> int:
    """Returns 0 when nothing failed, else the code of the first failure."""
    return next((finding.exit_code for finding in findings if finding.status == "fail"), 0)


def _findings(home: SiteHome) -> Iterator[Finding]:
    yield _versions()
    yield _disk(home)
    yield from _permissions(home)
    try:
        settings = home.read()
    except OncoFedError as error:
        yield Finding(check="site.yaml", status="fail", found=str(error), fix="correct the file, then run doctor again")
        return
    yield Finding(check="site.yaml", status="ok", found=f"{settings.name}, hub {settings.hub}")
    yield _noise(settings)
    yield _guarded(_hub_key, home, settings)
    yield from hub_checks(home, settings)
    for check in (_device, _data, _ledger, _policy, _budget):
        yield _guarded(check, home, settings)
    yield from _telemetry(home)
    yield from _cohort(home, settings)


def _guarded(check: Callable[[SiteHome, SiteFile], Finding], home: SiteHome, settings: SiteFile) -> Finding:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        return check(home, settings)
    except OncoFedError as error:
        return Finding(check=name, status="fail", found=str(error), fix="mend what it names", exit_code=error.exit_code)
    except Exception as error:
        return Finding(
            check=name, status="fail", found=f"{type(error).__name__}: {error}", fix="report this", exit_code=70
        )


def _versions() -> Finding:
    from common.provenance import versions
    from common.version import version_line

    found = versions()
    missing = [name for name, version in found.items() if version == "not installed"]
    said = f"{version_line()}, Python {sys.version.split()[0]}, flwr {found['flwr']}, torch {found['torch']}"
    if missing or not found["flwr"].startswith("1.41."):
        return Finding(
            check="versions", status="fail", found=said + (f"; missing: {', '.join(missing)}" if missing else ""),
            fix="install OncoFed again from its kit, with its constraints file",
        )  # fmt: skip
    return Finding(check="versions", status="ok", found=said)


def _disk(home: SiteHome) -> Finding:
    folder = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_GB:
        return Finding(check="disk", status="fail", found=f"{free:.1f} GB free in {folder}",
                       fix=f"free {DISK_GB:g} GB: on a full disk nothing is charged or trained")  # fmt: skip
    return Finding(check="disk", status="ok", found=f"{free:.0f} GB free")


def _permissions(home: SiteHome) -> Iterator[Finding]:
    for path in (home.node_key, home.tls_key, home.signing_key):
        name = f"keys/{path.name}"
        if not path.exists():
            yield Finding(check=name, status="fail", found="there is no key", fix="oncofed-site join KIT",
                          exit_code=TrustError.exit_code)  # fmt: skip
        elif path.stat().st_mode & 0o077:
            yield Finding(check=name, status="fail", found="other users of this machine can read it",
                          fix=f"chmod 600 {path}", exit_code=TrustError.exit_code)  # fmt: skip
        else:
            yield Finding(check=name, status="ok", found="only this user can read it")


def _noise(settings: SiteFile) -> Finding:
    if settings.noise_seed_for_tests_only is not None:
        return Finding(
            check="noise", status="fail", found="the noise is seeded, so it protects no patient",
            fix="remove noise_seed_for_tests_only from site.yaml", exit_code=TrustError.exit_code,
        )  # fmt: skip
    return Finding(check="noise", status="ok", found="from the operating system")


def _hub_key(home: SiteHome, settings: SiteFile) -> Finding:
    from client.site.proof import pinned_hub
    from common.trust.hub_key import hub_fingerprint

    said = f"requests must be signed by {hub_fingerprint(pinned_hub(home.hub_key))}"
    return Finding(check="hub key", status="ok", found=said)


def _device(home: SiteHome, settings: SiteFile) -> Finding:
    from common.training.device import chosen, described

    return Finding(check="device", status="ok", found=f"{settings.device} is {described(chosen(settings.device))}")


def _data(home: SiteHome, settings: SiteFile) -> Finding:
    from client.site.hospital import require_classes
    from client.site.site_file import open_data, split_counts

    dataset = open_data(settings.data)
    counts = split_counts(dataset)
    require_classes(counts, settings.name)
    dataset.read(dataset.records[0].image)
    train = counts["train"]["patients"]
    said = ", ".join(f"{row['patients']} {split}" for split, row in counts.items())
    if not 0.5 * train <= settings.declared_patients <= 2.0 * train:
        return Finding(
            check="data", status="warn", found=f"patients: {said}; declared_patients says {settings.declared_patients}",
            fix="agree on a round public number near the training cohort with the consortium, once",
        )  # fmt: skip
    return Finding(check="data", status="ok", found=f"patients: {said}")


def _cohort(home: SiteHome, settings: SiteFile) -> Iterator[Finding]:
    """Yields what the quick checks of the data find; what keeps the data from opening is told by ``_data``.

    No count and no name: what doctor says goes into the support bundle.
    """
    from client.checks.quick_checks import quick_checks

    try:
        found = quick_checks(home, settings)
    except OncoFedError:
        return
    for one in found:
        status: Status = "fail" if one.severity == "error" else "warn"
        yield Finding(check=f"data {one.code}", status=status, found=one.what,
                      fix=f"{one.fix} How many and which: oncofed-site data check",
                      exit_code=DataError.exit_code)  # fmt: skip


def _ledger(home: SiteHome, settings: SiteFile) -> Finding:
    from common.privacy.ledger import Ledger

    with Ledger(home.path / settings.ledger) as ledger:
        rows = ledger.verify()
    return Finding(check="ledger", status="ok", found=f"{rows} rows, chain and signatures hold")


def _policy(home: SiteHome, settings: SiteFile) -> Finding:
    from client.site.forecast import read_study
    from client.site.policy import check_hub, check_request, load_policy
    from common.trust.pki import certificate_facts

    policy, study = load_policy(home.path / settings.policy), read_study(home.path / "study.json")
    try:
        check_hub(policy, certificate_facts(home.ca).fingerprint)
        check_request(policy, study, settings.declared_patients)
    except (TrustError, BudgetExceeded) as error:
        return Finding(check="policy", status="warn", found=f"closed for the study of the kit: {error}",
                       fix="the privacy officer decides; see policy.yaml")  # fmt: skip
    return Finding(check="policy", status="ok", found=f"open for the study of the kit, ceiling {policy.ceiling:g}")


def _budget(home: SiteHome, settings: SiteFile) -> Finding:
    """Says what is left, and whether it pays the study of the kit to its end."""
    from client.site.accounts import latest_standing
    from client.site.forecast import forecast, read_study
    from client.site.policy import load_policy
    from common.privacy.accounting import default_delta
    from common.privacy.ledger import Ledger

    study, ceiling = read_study(home.path / "study.json"), load_policy(home.path / settings.policy).ceiling
    if not study.privacy.private:
        return Finding(check="budget", status="warn", found="the study of the kit is not private: it would make the "
                       "epsilon of its patients unbounded, for good",
                       fix="the privacy officer decides: modes and after_unbounded in policy.yaml")  # fmt: skip
    delta = study.privacy.delta or default_delta(settings.declared_patients)
    with Ledger(home.path / settings.ledger) as ledger:
        standing = latest_standing(ledger, delta, study.privacy.accountant, study.digest())
    cost = forecast(study, settings.declared_patients, ceiling, standing)
    spent, at_end = cost["lifetime_spent"], cost["lifetime_at_end"]
    said = f"epsilon {spent:.3f} of {ceiling:g} is spent, {at_end:.3f} after the study of the kit"
    if standing.unbounded:
        return Finding(check="budget", status="warn", found=f"epsilon over all studies is unbounded, {said} in private "
                       "studies", fix="the privacy officer decides: after_unbounded in policy.yaml")  # fmt: skip
    if cost["refused_at_once"] or cost["refused_round"]:
        return Finding(check="budget", status="warn", found=f"{said}: it would be refused",
                       fix="the privacy officer decides; see: oncofed-site privacy forecast")  # fmt: skip
    return Finding(check="budget", status="ok", found=said)


def _telemetry(home: SiteHome) -> Iterator[Finding]:
    """Looks at what the daemon has started, where it runs."""
    from client.node.state import state
    from common.services.environment import quiet_environment

    wanted = {f"{name}={quiet_environment()[name]}" for name in SILENT}
    for name, process in state(home)["processes"].items():
        try:
            around = Path(f"/proc/{process['pid']}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if missing := sorted(wanted - set(around)):
            yield Finding(check="telemetry", status="fail", found=f"{name} runs without {', '.join(missing)}",
                          fix="end it, and start the site with: oncofed-site start")  # fmt: skip
        else:
            yield Finding(check="telemetry", status="ok", found=f"off in the running {name}")
