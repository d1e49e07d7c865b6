"""The package that these tests share."""

from tests.packaged import folder, made, package, phantom_run, pictures

__all__ = ["folder", "made", "package", "phantom_run", "pictures"]
