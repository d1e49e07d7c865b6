"""Public features: fixed functions of one image at a public checkpoint, in which a private model is linear.

``last`` is the pooled output of the trunk; ``pooled`` that of one block; ``gradient`` the gradient of the logit with
respect to the convolutions of that block, sketched: what moving those weights a little would change (linearised
fine-tuning; Mu, Liang and Li 2020, arXiv:2003.02139). Each is averaged over views and has length 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import normalize

from common.config.study import FeatureKind
from common.errors import ModelError
from common.models.classifier import Classifier
from common.models.gradients import blocks_of, convolutions_of, image_gradients, watched
from common.models.sketch import CountSketch
from common.models.views import VIEWS, View

KINDS: tuple[FeatureKind, ...] = ("gradient", "pooled", "last")
ROWS = 16
"""Images that go through the network at once, always: a row's last bits then do not hang on how many others there are.
Missing ones are filled up with the first."""
_TAP = "public_block_output"


class FeatureMaps:
    """The public features of a frozen network.

    Args:
        network: At the checkpoint; its parameters are frozen and it is put into evaluation mode.
        block: Name of the block in the trunk, such as ``blocks.11``.
        seed: Public seed of the sketch.
        size: Numbers of a sketch.
        views: Over which features are averaged.

    Raises:
        ModelError: There is no such block.
    """

    def __init__(self, network: Classifier, block: str, *, seed: int, size: int, views: Sequence[View] = VIEWS) -> None:
        self.network = network.eval().requires_grad_(False)
        self._views = tuple(views)
        self._convolutions = convolutions_of(network, block)
        self._output = output_of(network, block)
        self._sketches = {
            name: CountSketch(seed, name, module.weight.numel(), size) for name, module in self._convolutions.items()
        }

    def __call__(self, images: Tensor, kinds: Sequence[FeatureKind] = KINDS) -> dict[FeatureKind, Tensor]:
        """Returns float32 (N, D) of unit rows for each kind, on the network's device; no row depends on another.

        Args:
            images: float32 (N, C, H, W) in [-1, 1].
            kinds: Which; one pass makes all of them.
        """
        parts = [self._of_block(chunk, kinds) for chunk in images.split(ROWS)]
        return {kind: torch.cat([part[kind] for part in parts]) for kind in kinds}

    def of_view(self, images: Tensor, view: View, kinds: Sequence[FeatureKind] = KINDS) -> dict[FeatureKind, Tensor]:
        """Returns the same of a single view, as the basis is made from."""
        parts = [_unit(self._once(self._block(chunk), view, kinds), len(chunk)) for chunk in images.split(ROWS)]
        return {kind: torch.cat([part[kind] for part in parts]) for kind in kinds}

    def _of_block(self, chunk: Tensor, kinds: Sequence[FeatureKind]) -> dict[FeatureKind, Tensor]:
        rows = self._block(chunk)
        seen = [self._once(rows, view, kinds) for view in self._views]
        return _unit({kind: torch.stack([each[kind] for each in seen]).mean(0) for kind in kinds}, len(chunk))

    def _block(self, chunk: Tensor) -> Tensor:
        return _filled(chunk).to(self.network.device)

    def _once(self, rows: Tensor, view: View, kinds: Sequence[FeatureKind]) -> dict[FeatureKind, Tensor]:
        outputs: list[Tensor] = []
        handle = self._output.register_forward_hook(lambda module, arguments, output: outputs.append(output.detach()))
        try:
            found, last = self._sketched(rows, view) if "gradient" in kinds else ({}, self._last(rows, view))
        finally:
            handle.remove()
        everything: dict[FeatureKind, Tensor] = {"last": last, "pooled": outputs[0].mean((2, 3)), **found}
        return {kind: everything[kind] for kind in kinds}

    def _sketched(self, rows: Tensor, view: View) -> tuple[dict[FeatureKind, Tensor], Tensor]:
        """Returns the sketched gradients and, as they are there, the last features."""
        with torch.enable_grad(), watched(self._convolutions) as passed:
            features = self.network.features(view.of(rows.detach()))
            logits = self.network.head(self.network.pool(features)).squeeze(-1)
            sketches = [
                self._sketches[name](gradient) for name, gradient in image_gradients(self._convolutions, passed, logits)
            ]
        return {"gradient": torch.stack(sketches).sum(0)}, features.detach().mean((2, 3))

    def _last(self, rows: Tensor, view: View) -> Tensor:
        with torch.no_grad():
            return self.network.features(view.of(rows)).mean((2, 3))


def output_of(network: Classifier, block: str) -> nn.Module:
    """Returns a module whose output is the block's; a traced trunk, which has lost its blocks, gets one put in.

    Raises:
        ModelError: There is no such block.
    """
    trunk = network.trunk
    if not isinstance(trunk, fx.GraphModule):
        return trunk.get_submodule(block)
    nodes = [node for node in trunk.graph.nodes if block in node.meta.get("nn_module_stack", {})]
    if not nodes:
        raise ModelError(f"block={block!r} is no block of this network; choose one of {', '.join(blocks_of(network))}")
    tap = nn.Identity()
    trunk.add_submodule(_TAP, tap)
    with trunk.graph.inserting_after(nodes[-1]):
        tapped = trunk.graph.call_module(_TAP, (nodes[-1],))
    nodes[-1].replace_all_uses_with(tapped, delete_user_cb=lambda user: user is not tapped)
    trunk.recompile()
    return tap


def _filled(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows[:1].expand(ROWS - len(rows), *rows.shape[1:])])


def _unit(found: dict[FeatureKind, Tensor], rows: int) -> dict[FeatureKind, Tensor]:
    return {kind: normalize(features, dim=1)[:rows] for kind, features in found.items()}
