"""Flower's own SuperLink app with two approved hospitals and a run, to be asked in this process with real bodies."""

from __future__ import annotations

import asyncio
import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message, RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, TIMESTAMP_HEADER
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    NOOP_FEDERATION_ID,
    TASK_TOKEN_HEADER,
    TaskType,
)
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supernode.fleet_http_connection import remove_content_from_message

HUB = 1


@dataclass
class Link:
    """The app, its state, a running run and the nodes ``b`` and ``c``."""

    app: Any
    state: Any
    run: int
    keys: dict[int, ec.EllipticCurvePrivateKey]
    token: str

    @property
    def nodes(self) -> tuple[int, int]:
        b, c = self.keys
        return b, c

    def message(self, content: RecordDict, src: int, dst: int, reply_to: str = "", **chosen: Any) -> Message:
        """Returns a message with whatever metadata its sender chose, and the id that it must have."""
        honest: dict[str, Any] = {
            "run_id": self.run, "message_id": "", "src_node_id": src, "dst_node_id": dst, "group_id": "",
            "reply_to_message_id": reply_to, "created_at": now().timestamp(), "ttl": 60.0 if reply_to else 600.0,
            "message_type": "train",
        }  # fmt: skip
        metadata = Metadata(**honest | chosen)
        found = make_message(metadata, content)
        vars(found.metadata)["_message_id"] = found.object_id
        return found

    def sent_by_hub(self, content: RecordDict, node: int) -> Message:
        """Returns a message that the hub's aggregator has stored for a node."""
        message = self.message(content, HUB, node)
        session = self.state.start_session(self.run)
        stored, _ = self.state.store_message_and_object_tree(message, get_object_tree(message), session)
        assert stored
        return message

    def push_as_hub(self, message: Message, token: str | None = None) -> int:
        """Returns the status with which the aggregator's push is answered; it proves itself with its task's token."""
        body = PushAppMessagesRequest(
            messages_list=[message_to_proto(remove_content_from_message(message))],
            message_object_trees=[get_object_tree(message)],
        )
        headers = {TASK_TOKEN_HEADER: self.token if token is None else token, "content-type": PROTOBUF_MEDIA_TYPE}
        return asyncio.run(self._post("/v1/runtime/push-messages", body.SerializeToString(), headers)).status_code

    def push(self, sender: int, message: Message, tree: ObjectTree | None = None) -> int:
        """Returns the status with which a hospital's push is answered."""
        body = PushMessagesRequest(
            node=Node(node_id=sender),
            messages_list=[message_to_proto(remove_content_from_message(message))],
            message_object_trees=[tree or get_object_tree(message)],
            clientapp_runtime_list=[0.0],
        )
        return int(self.ask("push-messages", sender, body).status_code)

    def ask(self, path: str, sender: int, body: Any) -> httpx.Response:
        """Returns the answer to a request that a hospital has signed with its own key."""
        key, time = self.keys[sender], now().isoformat()
        headers = {
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(key.public_key())).decode(),
            FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(key, time.encode())).decode(),
            TIMESTAMP_HEADER: time,
            "content-type": PROTOBUF_MEDIA_TYPE,
        }
        return asyncio.run(self._post(f"/v1/fleet/{path}", body.SerializeToString(), headers))

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return await client.post(path, content=body, headers=headers)

    def waiting(self, node: int) -> list[Message]:
        """Returns what that node would be handed as the hub's."""
        found: list[Message] = self.state.get_message_ins(node_id=node, limit=1)
        return found


@contextmanager
def superlink(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """Yields the app as ``flwr.superlink.extensions.configure_app`` leaves it."""
    from flwr.superlink.main import create_app

    monkeypatch.setenv("FLWR_DATABASE", str(folder / "state.db"))
    with warnings.catch_warnings():  # of Flower's own migrations
        warnings.simplefilter("ignore", DeprecationWarning)
        app = create_app()
    state = app.state.linkstate_factory.state()
    keys: dict[int, ec.EllipticCurvePrivateKey] = {}
    for _ in range(2):
        key = ec.generate_private_key(ec.SECP384R1())
        node = state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public_key_to_bytes(key.public_key()), 30.0)
        assert state.activate_node(node, 30.0)
        keys[node] = key
    run = state.create_run(None, None, "f", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP)
    (task,) = state.get_tasks(run_ids=[run])
    token = state.claim_task(task.task_id)
    assert token and state.activate_task(task.task_id)
    yield Link(app, state, run, keys, token)
