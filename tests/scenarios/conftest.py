"""A whole federation in one process, quick enough to break in many ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from common.config.overrides import split_overrides
from common.config.study import compose
from common.errors import OncoFedError
from common.protocol.messages import MaskedAnswer, Request, TrainAnswer, pack_answer, unpack_answer, unpack_request
from common.protocol.signed_request import bind, claims_digest
from simulations.engine.grid import InProcessGrid

# With this seed each split of each of the three sites has patients of both classes.
QUICK = (
    "seed=17 data.patients=120 data.image_size=32 model.width=4 training.rounds=2 training.batch_patients=10 "
    "training.local_epochs=1 training.lr=0.1 "
    "evaluation.local_epochs=1 evaluation.home_folds=2 evaluation.personal_epochs=1 evaluation.bins=256 "
    "partition.sites=3 privacy.accountant=rdp"
)
Mutation = Callable[[Any], TrainAnswer | MaskedAnswer | Exception | None]
Tampering = Callable[[Request, str, RecordDict], None]
"""Given what was asked, the site, and its answer as it travels, to be changed in place."""


@dataclass
class Federation:
    """Runs a quick study; ``mutations`` change or drop what a site sends in a round, ``tamper`` the bytes of any."""

    folder: Path
    mutations: dict[tuple[str, int], Mutation] = field(default_factory=dict)
    error: OncoFedError | None = None
    tamper: Tampering = lambda request, site, content: None
    ticket: str = ""

    def run(self, overrides: str = "", *, resume: bool = False, rehearsal: bool = False) -> dict[str, Any]:
        from server.app import conduct

        text = f"{QUICK} {overrides}".strip()
        config = {"overrides": text, "out-dir": "" if resume else str(self.folder)}
        config["resume"] = str(self.folder) if resume else ""
        config |= {"rehearsal": "true" if rehearsal else "", "ticket": self.ticket}
        sites = compose(split_overrides(text)).partition.sites
        grid = InProcessGrid(self._app(), num_nodes=sites, run_config=config)
        context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
        try:
            conduct(grid, context)
        except OncoFedError as error:
            self.error = error
        return self.read("run.json")

    def read(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / name).read_text()))

    def rounds(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def _app(self) -> ClientApp:
        from client.app import app

        def mutated(message: Message, context: Context) -> Message:
            reply = app(message, context)
            request = unpack_request(message.content)
            answer = unpack_answer(reply.content)
            self.tamper(request, answer.site, reply.content)
            mutate = self.mutations.get((answer.site, request.round_index))
            if mutate is None or not isinstance(answer, TrainAnswer | MaskedAnswer):
                return reply
            changed = mutate(answer)
            if isinstance(changed, Exception):
                raise changed
            if changed is not None:
                reply.content = bind(pack_answer(changed), claims_digest(message.content))
            return reply

        return mutated  # type: ignore[return-value]


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "run")
