"""Which column of a table holds the labels, and what its cells say; in doubt it is the person who decides."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from common.data.intake.choices import Choices
from common.data.intake.words import has_word, label_of_cell, one_spelling, words_of
from common.errors import DataError

TELLING = frozenset({
    "label", "labels", "class", "classification", "pathology", "patho", "histology", "histopathology", "histological",
    "diagnosis", "diagnose", "diagnostic", "dx", "biopsy", "result", "outcome", "finding", "malignancy", "malignant",
    "cancer", "truth", "target", "status", "category", "type", "befund", "ergebnis", "diagnóstico", "diagnostico",
    "resultado", "clase", "resultat", "diagnosi", "esito", "uitslag", "diagnoza", "wynik", "диагноз",
    "诊断", "病理", "診断", "label_name",
})  # fmt: skip
"""Words in the name of a column that holds what the lesion is."""
ELSEWHERE = frozenset({
    "previous", "prior", "history", "family", "mother", "sister", "contralateral", "other", "suspected", "referral",
    "predicted", "prediction", "pred", "ai", "model", "score", "clinical", "initial", "first", "old", "preliminary",
    "er", "pr", "her", "receptor", "node", "nodal", "axilla", "lymph", "menopausal", "vital", "frühere", "familie",
    "anamnese", "antecedentes", "previo", "reader", "radiologist", "impression", "assessment", "second", "review",
})  # fmt: skip
"""Words in the name of a column that is about something else, or about an opinion."""
SCALES = frozenset({
    "birads", "bi", "rads", "assessment", "severity", "density", "grade", "stage", "score", "subtlety", "acr",
})  # fmt: skip
"""Words in the name of a column of grades, of which 0 and 1 are two among others."""
CERTAIN = frozenset({"label", "malignant", "malignancy", "cancer"})
"""Words in the name of a column in which 1 is malignant."""
BESIDE = frozenset({
    "is", "has", "class", "target", "breast", "image", "binary", "lesion", "tumor", "tumour", "patient", "exam",
    "ground", "truth", "y", "flag", "biopsy", "pathology", "histology", "proven", "confirmed",
})  # fmt: skip
"""Words that may stand beside one of those."""
FLAGS = {
    "1": 1, "1.0": 1, "1,0": 1, "true": 1, "yes": 1, "y": 1, "positive": 1, "pos": 1, "ja": 1, "sí": 1, "oui": 1,
    "0": 0, "0.0": 0, "0,0": 0, "false": 0, "no": 0, "n": 0, "negative": 0, "neg": 0, "nein": 0, "non": 0,
}  # fmt: skip
LETTERS = {"m": 1, "b": 0}
SHOWN = 6
Row = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column, and the label that each of its words means, by the word in one form."""

    name: str
    meaning: Mapping[str, int]

    def label(self, row: Row) -> int | None:
        """Returns the label of a row, None where its cell holds none for certain."""
        return self.meaning.get(one_spelling(row[self.name]))


def label_column(rows: Sequence[Row], choices: Choices, keys: Sequence[str] = ()) -> LabelColumn:
    """Returns the column of labels.

    Args:
        rows: At least one.
        choices: ``label_column``, ``malignant`` and ``benign`` decide where given.
        keys: Columns that name images or patients and so hold no label.

    Raises:
        DataError: No column, or several that disagree, could be it; the message lists them with their values.
    """
    names = [name for name in rows[0] if name not in keys]
    if choices.label_column:
        return _named(rows, choices)
    if choices.malignant or choices.benign:
        raise DataError(f"--malignant and --benign need --label-column. {_offered(rows, names)}")
    sure = [found for name in names if (found := _by_words(rows, name))]
    sure = sure or [found for name in names if (found := _by_flags(rows, name))]
    open_ = [name for name in names if any(label_of_cell(row[name]) is not None for row in rows)]
    doubtful = [name for name in open_ if name not in {found.name for found in sure}]
    if not sure:
        raise DataError(f"No column holds labels for certain. {_offered(rows, names)}")
    rivals = [LabelColumn(name, _word_meaning(rows, name)) for name in doubtful if not has_word(name, ELSEWHERE)]
    rivals += [found for name in names if (found := _by_flags(rows, name)) and found.name != sure[0].name]
    if any(_disagree(rows, sure[0], other) for other in (*sure[1:], *rivals)):
        raise DataError(f"Several columns could hold the labels, and they disagree. {_offered(rows, names)}")
    return sure[0]


def _named(rows: Sequence[Row], choices: Choices) -> LabelColumn:
    name = choices.label_column
    if name not in rows[0]:
        raise DataError(f"The table has no column {name}; it has {', '.join(rows[0])}")
    if choices.malignant or choices.benign:
        meaning = {one_spelling(word): 1 for word in choices.malignant} | {
            one_spelling(word): 0 for word in choices.benign
        }
        twice = {one_spelling(word) for word in choices.malignant} & {one_spelling(word) for word in choices.benign}
        absent = sorted(meaning.keys() - {one_spelling(row[name]) for row in rows})
        if twice or absent:
            raise DataError(
                f"{'Both malignant and benign: ' + ', '.join(sorted(twice)) if twice else 'Not in column ' + name}"
                f"{'' if twice else ': ' + ', '.join(absent)}. It holds {_values(rows, name)}"
            )
        return LabelColumn(name, meaning)
    found = _word_meaning(rows, name) or _letter_meaning(rows, name)
    if not found and not has_word(name, SCALES):
        found = _flag_meaning(rows, name)
    if not found:
        raise DataError(
            f"Column {name} holds {_values(rows, name)}, which is not malignant and benign, or 1 and 0, for certain; "
            "say what means what with --malignant and --benign"
        )
    return LabelColumn(name, found)


def _by_words(rows: Sequence[Row], name: str) -> LabelColumn | None:
    meaning = _word_meaning(rows, name)
    telling = has_word(name, TELLING) and not has_word(name, ELSEWHERE)
    filled = {one_spelling(row[name]) for row in rows} - {""}
    pure = filled <= meaning.keys() and len(set(meaning.values())) == 2 and not has_word(name, ELSEWHERE)
    if meaning and (telling or pure):
        return LabelColumn(name, meaning)
    letters = _letter_meaning(rows, name)
    return LabelColumn(name, letters) if letters and telling else None


def _by_flags(rows: Sequence[Row], name: str) -> LabelColumn | None:
    certain = has_word(name, CERTAIN) and set(words_of(name)) <= CERTAIN | BESIDE
    meaning = _flag_meaning(rows, name) if certain else {}
    return LabelColumn(name, meaning) if meaning else None


def _word_meaning(rows: Sequence[Row], name: str) -> dict[str, int]:
    """Returns word -> label of the cells that hold one of our words."""
    found = {one_spelling(row[name]): label_of_cell(row[name]) for row in rows}
    return {word: label for word, label in found.items() if label is not None}


def _letter_meaning(rows: Sequence[Row], name: str) -> dict[str, int]:
    """Returns the meaning of M and B, in a column that holds both and nothing else."""
    return dict(LETTERS) if {one_spelling(row[name]) for row in rows} - {""} == LETTERS.keys() else {}


def _flag_meaning(rows: Sequence[Row], name: str) -> dict[str, int]:
    """Returns the meaning of 1 and 0, yes and no, in a column that holds nothing else, and both."""
    filled = {one_spelling(row[name]) for row in rows} - {""}
    return dict(FLAGS) if filled <= FLAGS.keys() and len({FLAGS[word] for word in filled}) == 2 else {}


def _disagree(rows: Sequence[Row], one: LabelColumn, other: LabelColumn) -> bool:
    pairs = ((one.label(row), other.label(row)) for row in rows)
    return any(first is not None and second is not None and first != second for first, second in pairs)


def _offered(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Returns the columns that a person may choose among, with their values: those of a few different values."""
    values = {name: {row[name] for row in rows} - {""} for name in names}
    few = [name for name in names if 1 < len(values[name]) <= max(12, len(rows) // 10) or _word_meaning(rows, name)]
    listed = "; ".join(f"{name}: {_values(rows, name)}" for name in few or names)
    return (
        "Name one with --label-column, and if its words are not malignant and benign or 1 and 0, say what they mean "
        f"with --malignant and --benign. Columns: {listed}"
    )


def _values(rows: Sequence[Row], name: str) -> str:
    counts = Counter(row[name] or "(empty)" for row in rows)
    shown = ", ".join(f"{value} ({count})" for value, count in counts.most_common(SHOWN))
    return shown + (f" and {len(counts) - SHOWN} other values" if len(counts) > SHOWN else "")


def worst(labels: Sequence[int | None]) -> int | None:
    """Returns the label of several rows: malignant if any is; None where one is uncertain and none is malignant."""
    return 1 if 1 in labels else None if None in labels or not labels else 0
