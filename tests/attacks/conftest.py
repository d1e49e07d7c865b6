"""What attacks need: a whole federation in one process."""

from tests.scenarios.conftest import federation

__all__ = ["federation"]
