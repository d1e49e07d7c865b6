"""Words for malignant and benign, and what keeps a word from being one: negations, doubts, longer names.

A word counts whole. ``non-malignant``, ``suspected malignant`` and ``malignant?`` tell nothing for certain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable


def _folded(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


MALIGNANT = _folded({
    "malignant", "malign", "malignancy", "cancer", "carcinoma", "malignant tumor", "malignant tumour",
    "malignant lesion", "maligno", "maligna", "malignos", "malignas", "maligni", "maligne", "malin", "malins",
    "bösartig", "boesartig", "kwaadaardig", "ondartet", "elakartad", "ondartad", "złośliwy", "złośliwa", "zlosliwy",
    "zhoubný", "zhoubny", "rosszindulatú", "kötü huylu", "kotu huylu", "ganas", "ác tính", "κακοήθης", "κακόηθες",
    "злокачественный", "злокачественная", "злокачественное", "злоякісний", "恶性", "惡性", "悪性", "恶性肿瘤",
    "악성", "خبيث", "خبيثة",
})  # fmt: skip
"""In English, Spanish, Portuguese, Italian, French, German, Dutch, the Nordic languages, Polish, Czech, Hungarian,
Turkish, Indonesian, Vietnamese, Greek, Russian, Ukrainian, Chinese, Japanese, Korean and Arabic."""
BENIGN = _folded({
    "benign", "benign without callback", "benign tumor", "benign tumour", "benign lesion", "benigno", "benigna",
    "benignos", "benignas", "benigni", "benigne", "bénin", "bénigne", "bénins", "benin", "gutartig", "goedaardig",
    "godartet", "godartad", "łagodny", "łagodna", "lagodny", "nezhoubný", "nezhoubny", "jóindulatú", "iyi huylu",
    "jinak", "lành tính", "καλοήθης", "καλόηθες", "доброкачественный", "доброкачественная", "доброкачественное",
    "доброякісний", "良性", "良性肿瘤", "حميد", "حميدة",
})  # fmt: skip
"""Korean is left out: its word for benign also means positive."""
NEGATIONS = frozenset({
    "non", "not", "no", "none", "without", "un", "nicht", "kein", "keine", "ohne", "pas", "ne", "sans", "sin", "sem",
    "senza", "não", "nao", "niet", "geen", "ikke", "inte", "ej", "nie", "nem", "değil", "degil", "bukan",
    "không", "δεν", "μη", "не", "без", "非", "不", "无", "無", "غير", "ليس", "excluded", "exclude", "ruled", "free",
    "former", "ex", "anti", "never", "negative", "neg",
})  # fmt: skip
DOUBTS = frozenset({
    "suspected", "suspicious", "suspicion", "susp", "probably", "probable", "prob", "possibly", "possible", "maybe",
    "perhaps", "likely", "unlikely", "unclear", "unknown", "uncertain", "unsure", "indeterminate", "borderline", "pre",
    "potentially", "presumed", "verdacht", "verdächtig", "wahrscheinlich", "vermutlich", "fraglich", "sospechoso",
    "sospecha", "probablemente", "posible", "suspeito", "provável", "suspect", "probablement", "sospetto", "predicted",
    "prediction", "pred", "misclassified", "wrong", "rejected", "followup", "follow", "vs", "versus", "or", "oder",
    "und", "and", "both", "mixed",
})  # fmt: skip
_NEUTRAL = frozenset({
    "breast", "breasts", "tumor", "tumors", "tumour", "tumours", "lesion", "lesions", "case", "cases", "image",
    "images", "img", "imgs", "class", "mass", "masses", "calc", "calcification", "calcifications", "ultrasound",
    "mammogram",
    "mammograms", "mammography", "train", "training", "test", "testing", "val", "valid", "validation", "patient",
    "patients", "group", "folder", "data", "dataset", "set", "png", "jpg", "jpeg", "tif", "tiff", "dicom", "dcm", "bmp",
    "cropped", "original", "originals", "resized", "augmented", "label", "birads", "biopsy", "proven", "confirmed",
    "histology", "pathology", "tumeur", "lésion", "lesión", "lesiones", "nodule", "nodules", "masks", "mask", "roi",
})  # fmt: skip
"""Words that may stand beside the label in a folder's name and change nothing."""
SHORT = 2
"""Letters of a code (``US``, ``GE``) that may stand there too."""


def one_spelling(text: str) -> str:
    """Returns the words of a cell or a name in one form: lower case, single blanks for ``_`` and ``-``.

    >>> one_spelling("BENIGN_WITHOUT_CALLBACK ")
    'benign without callback'
    """
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(re.sub(r"[\s_\-/]+", " ", folded).strip(" .,;:()[]\"'").split())


def label_of_cell(text: str) -> int | None:
    """Returns the label of a cell that holds one of the words and nothing else.

    >>> label_of_cell("Malignant"), label_of_cell("non-malignant"), label_of_cell("malignant?")
    (1, None, None)
    """
    word = one_spelling(text)
    return 1 if word in MALIGNANT else 0 if word in BENIGN else None


def label_of_name(name: str, *, folder: bool) -> tuple[int | None, bool]:
    """Returns the label that a folder's or a file's name tells, and whether it speaks of one but leaves doubt.

    Args:
        name: One part of a path, without a suffix.
        folder: Whether it is a folder's; beside the label it may then hold numbers and a few words only. A file's may
            hold any that are no negation and no doubt.
    """
    words = re.findall(r"[^\W\d_]+|\d+", unicodedata.normalize("NFC", name).casefold())
    told = {1 if word in MALIGNANT else 0 for word in words if word in _SAID}
    if not told:
        return None, False
    others = [word for word in words if word not in _SAID]
    sure = len(told) == 1 and "?" not in name and not any(word in NEGATIONS | DOUBTS for word in others)
    if folder:
        sure = sure and all(_is_neutral(word) for word in others)
    return (told.pop(), False) if sure else (None, True)


def _is_neutral(word: str) -> bool:
    return word.isdigit() or word in _NEUTRAL or (len(word) <= SHORT and word.isascii())


def words_of(name: str) -> list[str]:
    """Returns the words of a column's name in lower case, also where it is written ``likeThis``; without numbers."""
    parted = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Ý])", " ", unicodedata.normalize("NFC", name))
    return re.findall(r"[^\W\d_]+", parted.casefold())


def has_word(name: str, words: Collection[str]) -> bool:
    """Returns whether a column's name holds one of the words whole."""
    return any(word in words for word in words_of(name))


_SAID = frozenset(
    word for word in MALIGNANT | BENIGN if " " not in word and word not in ("cancer", "carcinoma", "malignancy")
)
"""Words that a name tells a label by; ``cancer`` also names what a whole collection is about."""
