"""What a hospital may announce of its answer's objects: those of one answer, and none in the way of the hub's own.

Flower keeps everybody's objects under the hash of their content. Before the content comes it believes what is announced
of it, and refuses whoever announces the same object with other children: a hospital that guesses an object of somebody
else could block it. An answer holds a random text, so that no other hospital can name its objects before it does. The
hub's weights can be guessed, or are known; where they are announced wrongly, the wrong announcement goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MOST_CHUNKS = 1024
"""Of an answer's values; Flower cuts them into pieces of 5 MiB."""
WIDTHS = (1, 2, 1, MOST_CHUNKS, 0)
"""Most children at each depth: of a message, its content, the record of values, the values, and a chunk of them."""
Children = Mapping[str, frozenset[str]]


def is_answer_tree(tree: Any, message_id: str) -> bool:
    """Returns whether these are the objects of that message, as many and as deep as an answer has."""
    return bool(message_id) and tree.object_id == message_id and _fits(tree, WIDTHS)


class Announced:
    """What hospitals have announced, by the message that it was announced with; roots are message ids."""

    def __init__(self) -> None:
        self._coming: dict[str, Children] = {}
        self._stored: dict[str, Children] = {}

    def come(self, tree: Any) -> None:
        """Notes an announcement before Flower takes or refuses it."""
        self._coming[tree.object_id] = dict(_children(tree))

    def settle(self, tree: Any, store: Any) -> None:
        """Keeps the announcement if Flower took it, and forgets those whose message is gone."""
        found = self._coming.pop(tree.object_id, None)
        if found is not None:
            self._stored[tree.object_id] = found
        for root in list(self._stored):  # of this moment: other hospitals' pushes are settled by other threads
            if store.get(root) is None:
                self._stored.pop(root, None)

    def give_way(self, trees: Iterable[Any], store: Any) -> None:
        """Deletes each announced message that says of an object of the hub's that it has other children."""
        true = {object_id: children for tree in trees for object_id, children in _children(tree)}
        for root, told in [*self._coming.items(), *self._stored.items()]:
            if any(true.get(object_id, children) != children for object_id, children in told.items()):
                store.delete(root)


def _fits(tree: Any, widths: tuple[int, ...]) -> bool:
    most, *deeper = widths
    return len(tree.children) <= most and all(_fits(child, tuple(deeper)) for child in tree.children)


def _children(tree: Any) -> Iterator[tuple[str, frozenset[str]]]:
    yield tree.object_id, frozenset(child.object_id for child in tree.children)
    for child in tree.children:
        yield from _children(child)
