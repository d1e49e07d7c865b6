"""IDC patches: 277,524 squares of 50 x 50 from whole slides of women with invasive ductal carcinoma (Cruz-Roa 2014).

All women here have cancer. Class 1 means that a patch shows invasive carcinoma, class 0 that it does not: a benign
patient it never is. So the task is the patch, and a case has two halves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from common.data.files.tree import files_below
from common.data.formats import required_root
from common.data.manifest import Dataset, Record
from common.data.pixels.images import ImageFiles
from common.data.readers.classes import halves, split_cases
from common.errors import DataError

if TYPE_CHECKING:
    from common.config.study import DataConfig

CITATION = (
    "Cruz-Roa A, et al. Automatic detection of invasive ductal carcinoma in whole slide images with convolutional "
    "neural networks. SPIE Medical Imaging 9041:904103, 2014; Janowczyk A, Madabhushi A. Deep learning for digital "
    "pathology image analysis. Journal of Pathology Informatics 7:29, 2016"
)
LICENCE = "Published by the authors for download without a licence text"
WORDS = {0: "without IDC", 1: "with IDC"}
PATCH_NOTES = (
    "The task is the patch: label 1 is tumour in the patch, label 0 tissue without, often of the same woman. "
    "'benign' and 'malignant' in reports mean patches here, not patients.",
    "Both halves of a case lie in one split, but may be dealt to two emulated sites.",
    "The guarantee covers one half of a case; for a whole case at one site it is (2 epsilon, (1 + e^epsilon) delta).",
)
_NAME = re.compile(r"(?P<case>\d+)_idx5_x\d+_y\d+_class(?P<label>[01])\.png")


def open_idc(data: DataConfig) -> Dataset:
    """Returns the IDC patches: a *patient* is the patches of one case and class; attribute case.

    Raises:
        ConfigError, DataError: There is no patch named as published.
    """
    root = required_root(data, "the folder IDC_regular_ps50_idx5 (or the one that holds it)")
    found = [(path, match) for path in files_below(root, ".png") if (match := _NAME.fullmatch(path.name))]
    if not found:
        raise DataError(f"There is no 14082_idx5_x1001_y801_class0.png or the like below {root}")
    plain = [
        Record(image=path.relative_to(root).as_posix(), patient=match["case"], label=int(match["label"]))
        for path, match in found
    ]
    cases = {record.patient for record in plain}
    records = halves(plain, WORDS)
    enough = len(cases) >= 3
    return Dataset(
        name="IDC patches",
        records=split_cases(records, train_share=data.train_share, val_share=data.val_share) if enough else records,
        read=ImageFiles(root),
        citation=CITATION,
        licence=LICENCE,
        notes=PATCH_NOTES if enough else (*PATCH_NOTES, f"{len(cases)} cases are too few to divide."),
    )
