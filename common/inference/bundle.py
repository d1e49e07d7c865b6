"""``configs/metadata.json`` and ``docs/README.md``: a package in the layout of a MONAI bundle.

The keys are those of MONAI's bundle specification (docs.monai.io, "MONAI Bundle Specification", metadata).
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from common.config.study import DataConfig
from common.inference.expects import Expects
from common.inference.manifest import Manifest
from common.notice import RESEARCH_USE

METADATA, README = "configs/metadata.json", "docs/README.md"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
NAMES = {"US": "US", "MG": "MG", "SM": "histology", None: "not stated"}


def bundle_metadata(manifest: Manifest, data: DataConfig, expects: Expects, citation: str) -> dict[str, Any]:
    """Returns the document that MONAI's tools read."""
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"run {manifest.run} of study {manifest.study[:16]}"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").partition("+")[0],
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {"onnxruntime": metadata.version("onnxruntime")},
        "name": manifest.name,
        "task": "Probability that a breast lesion is malignant",
        "description": f"{RESEARCH_USE}. One score of an image; label.json tells what it is worth and not for.",
        "authors": "not stated",
        "copyright": "not stated",
        "intended_use": f"{RESEARCH_USE}",
        "references": [citation] if citation else [],
        "network_data_format": {
            "inputs": {"images": _input(data, expects)},
            "outputs": {"logit": _output(), "features": _features()},
        },
    }


def _input(data: DataConfig, expects: Expects) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": NAMES[expects.modality],
        "num_channels": data.channels,
        "spatial_shape": [data.image_size, data.image_size],
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
        "channel_def": {"0": "grey"} if data.channels == 1 else {"0": "red", "1": "green", "2": "blue"},
    }


def _output() -> dict[str, Any]:
    return {
        "type": "probabilities", "format": "logit", "num_channels": 1, "spatial_shape": [], "dtype": "float32",
        "value_range": [], "is_patch_data": False, "channel_def": {"0": "logit of malignancy, before calibration"},
    }  # fmt: skip


def _features() -> dict[str, Any]:
    return {
        "type": "feature", "format": "feature map", "num_channels": 0, "spatial_shape": [], "dtype": "float32",
        "value_range": [], "is_patch_data": False, "channel_def": {},
    }  # fmt: skip


def readme(manifest: Manifest, label: list[str]) -> str:
    """Returns the page of the package."""
    head = [
        f"# {' '.join(manifest.name.split())}", "", f"**{RESEARCH_USE}.**", "",
        "Load it with OncoFed, which checks it: `oncofed-site predict --package FOLDER IMAGES`.",
        "`model.onnx` has two outputs, the logit and the last feature map; `preprocess.json` is what the training code",
        "itself runs; `calibration.json` makes the probability; `label.json` is this page as data.", "",
        f"Runs by {manifest.engine}{f': {manifest.engine_reason}' if manifest.engine_reason else ''}.", "",
        "## Label", "",
    ]  # fmt: skip
    return "\n".join([*head, *label]) + "\n"
