"""The network of a package as a function of images: by onnxruntime where it could be exported, by torch where not.

Both give two outputs: the logit, and the last feature map, on which only pooling and a linear head work.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from common.models.classifier import Classifier

Floats = NDArray[np.float32]
INPUT, OUTPUTS = "images", ("logit", "features")
TOLERANCE = 1e-4
"""Largest difference of a logit between torch and onnxruntime, over the larger of 1 and the logit."""
MOST_IMAGES = 16
"""Images that go through at once: bounds memory, and changes no score."""


class Network(Protocol):
    """Images float32 (N, C, S, S) to logits float32 (N,) and features float32 (N, D, h, w) or (N, D)."""

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """Returns both."""


class NotExportable(ModelError):
    """The network cannot be written as ONNX; the text says why, and torch runs it."""


class OnnxNetwork:
    """Runs ``model.onnx``.

    Args:
        path: Of the file, whose hash was compared before.
        threads: Processor threads.

    Raises:
        ModelError: onnxruntime is not installed, or cannot read the file.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError("onnxruntime is not installed; run: pip install 'oncofed[tool]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class
            raise ModelError(
                f"{path} cannot be run ({str(error).splitlines()[0][:200]}); copy the package again"
            ) from None

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """Returns logits and features."""
        logits, features = self._session.run(list(OUTPUTS), {INPUT: images})
        return logits, features


class TorchNetwork:
    """Runs a network of the zoo, in evaluation mode."""

    def __init__(self, model: Classifier) -> None:
        self._model = model.eval()

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """Returns logits and features."""
        import torch

        with torch.no_grad():
            features = self._model.features(torch.from_numpy(images))
            logits = self._model.head(self._model.pool(features)).squeeze(-1)
        return logits.float().numpy(), features.float().numpy()


def export(model: Classifier, shape: tuple[int, ...], path: Path) -> None:
    """Writes the network as ONNX and compares it with torch on random images.

    Args:
        model: Of images.
        shape: (C, S, S).
        path: To write.

    Raises:
        NotExportable: It is no pooled feature map with a linear head, torch cannot export it, or the figures differ.
    """
    import torch

    if not isinstance(model.head, torch.nn.Linear):
        raise NotExportable(f"the head {type(model.head).__name__} is not linear in a pooled feature map")
    example = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        if model.eval().features(example).ndim != 4:
            raise NotExportable("its features are no map of places")
    _write(_two_outputs(model), example, path)
    _compare(model, example, path)


def _write(network: nn.Module, example: Tensor, path: Path) -> None:
    import torch

    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            batch = torch.export.Dim("images", min=1, max=1024)
            program: Any = torch.onnx.export(
                network, (example,), dynamo=True, verbose=False, dynamic_shapes={INPUT: {0: batch}},
                input_names=[INPUT], output_names=list(OUTPUTS),
            )  # fmt: skip
            program.save(str(path), external_data=False)
    except ImportError:
        raise ModelError("The ONNX exporter is not installed; run: pip install 'oncofed[tool]'") from None
    except Exception as error:  # the exporter raises errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise NotExportable(f"torch cannot export it ({type(error).__name__}: {reason})") from None


def _compare(model: Classifier, example: Tensor, path: Path) -> None:
    network, reference = OnnxNetwork(path), TorchNetwork(model)
    for count in (1, len(example)):
        images = example[:count].numpy()
        logits, truth = network(images)[0], reference(images)[0]
        worst = float((np.abs(logits - truth) / np.maximum(1, np.abs(truth))).max())
        if not worst <= TOLERANCE:
            path.unlink()
            raise NotExportable(f"onnxruntime and torch differ by {worst:.2g} in a logit")


def _two_outputs(model: Classifier) -> nn.Module:
    """Returns the network with both outputs; the head as one product, whose bits the exporter need not keep apart."""
    from torch import nn

    class TwoOutputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            features = self.model.features(images)
            pooled = self.model.pool(features)
            return (pooled * self.model.head.weight[0]).sum(1) + self.model.head.bias[0], features

    return TwoOutputs().eval()


class _quiet:
    """Keeps the exporter's log lines from stderr."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *details: object) -> None:
        logging.disable(self._before)


def in_parts(network: Network, images: Floats) -> tuple[Floats, Floats]:
    """Returns what the network says of any number of images, at most :data:`MOST_IMAGES` at once."""
    parts = [network(images[start : start + MOST_IMAGES]) for start in range(0, len(images), MOST_IMAGES)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
