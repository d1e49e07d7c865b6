"""Why a model gives no answer for an exam: a closed list, so that a reason can be counted and never tells a name."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One reason to abstain."""

    UNREADABLE = "unreadable"
    BLANK = "blank-image"
    BURNED_IN_TEXT = "burned-in-text"
    WRONG_MODALITY = "wrong-modality"
    WRONG_VIEW = "wrong-view"
    MIXED = "mixed-exam"
    UNLIKE_TRAINING = "unlike-training"
    FEATURES_FAR = "features-far"
    AMBIGUOUS = "ambiguous-set"
    ATYPICAL = "empty-set"
    NO_NUMBER = "no-number"


MEANINGS = {
    Reason.UNREADABLE: "an image could not be read whole, so nothing was scored",
    Reason.BLANK: "an image shows one value only",
    Reason.BURNED_IN_TEXT: "an image has text or marks drawn into its pixels",
    Reason.WRONG_MODALITY: "the exam is of another modality than the model was trained on",
    Reason.WRONG_VIEW: "an image is of another view or presentation than the model was trained on",
    Reason.MIXED: "its files name more than one patient, or are more than one exam has",
    Reason.UNLIKE_TRAINING: "the images look unlike those that the model was trained on",
    Reason.FEATURES_FAR: "the network's features lie far from those of this site's own patients",
    Reason.AMBIGUOUS: "benign and malignant are both possible at the agreed error level",
    Reason.NO_NUMBER: "the network gives no number for an image",
    Reason.ATYPICAL: "neither benign nor malignant patients of the calibration look like this",
}
"""What each reason says to a person."""
