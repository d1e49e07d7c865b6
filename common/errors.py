"""Errors, one family for each person who can mend them, with the exit code a command ends with.

The message is for the person at this machine: what was expected, what came, what to do. It never leaves a
site: what may leave is the ``code``, a constant of the class or a member of :class:`SiteCode`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class SiteCode(StrEnum):
    """The only words with which a site explains a refusal or a failure to the hub."""

    BUDGET_REFUSED = "budget-refused"
    POLICY_REFUSED = "policy-refused"
    BAD_REQUEST = "bad-request"
    REQUEST_UNPROVEN = "request-unproven"
    QUESTION_REFUSED = "question-refused"
    NOT_RELEASED = "not-released"
    DATA_UNFIT = "data-unfit"
    MODEL_MISMATCH = "model-mismatch"
    TRAINING_FAILED = "training-failed"
    BAD_UPDATE = "bad-update"
    BAD_ANSWER = "bad-answer"
    LEDGER_WENT_BACK = "ledger-went-back"
    NO_ANSWER = "no-answer"
    UNAVAILABLE = "unavailable"
    TOO_FEW = "too-few-patients"
    UNKNOWN = "unknown"


class OncoFedError(Exception):
    """Base of every error that a user, an operator or a site can meet."""

    exit_code: ClassVar[int] = 70
    code: ClassVar[SiteCode] = SiteCode.UNKNOWN


class UsageError(OncoFedError):
    """The command line is wrong: the person typing can mend it."""

    exit_code = 2
    code = SiteCode.BAD_REQUEST


class ConfigError(OncoFedError):
    """A study, site or hub configuration is wrong: the operator can mend it."""

    exit_code = 3
    code = SiteCode.BAD_REQUEST


class DataError(OncoFedError):
    """The data at a site are missing, damaged or unfit: the data manager can mend it."""

    exit_code = 4
    code = SiteCode.DATA_UNFIT


class TrustError(OncoFedError):
    """A key, signature, certificate or hash does not match: security can mend it."""

    exit_code = 5
    code = SiteCode.POLICY_REFUSED


class SiteClosed(TrustError):
    """The site does not work at this hour."""

    code = SiteCode.UNAVAILABLE


class UnprovenRequest(TrustError):
    """A request does not prove that this site's hub asks it of this site, now."""

    code = SiteCode.REQUEST_UNPROVEN


class QuestionRefused(TrustError):
    """A request asks about patients what the study does not ask, or asks it again about something else."""

    code = SiteCode.QUESTION_REFUSED


class NotReleased(TrustError):
    """The site keeps an answer that a run can do without, as its policy says."""

    code = SiteCode.NOT_RELEASED


class TooFewPatients(TrustError):
    """Counts of so few patients would leave that they could be told apart: the site's policy keeps them."""

    code = SiteCode.TOO_FEW


class BudgetExceeded(OncoFedError):
    """The request would pass the site's own privacy ceiling: the privacy officer can decide."""

    exit_code = 6
    code = SiteCode.BUDGET_REFUSED


class NetworkError(OncoFedError):
    """A peer could not be reached: the network's keeper can mend it."""

    exit_code = 7
    code = SiteCode.UNAVAILABLE


class FederationError(OncoFedError):
    """The run lost sites or its quorum: the coordinator can mend it."""

    exit_code = 8
    code = SiteCode.NO_ANSWER


class ModelError(ConfigError):
    """The model cannot be built, loaded or trained as the study asks."""

    code = SiteCode.MODEL_MISMATCH


class DeviceError(ConfigError):
    """The processor that was asked for is not there, or too small: who runs this machine can mend it."""

    code = SiteCode.TRAINING_FAILED


class LedgerError(TrustError):
    """The privacy ledger cannot be written or cannot be believed: nothing may train until it is mended."""
