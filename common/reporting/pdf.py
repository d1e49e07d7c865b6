"""PDF of a page, by a Chromium that is already installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from common.errors import ConfigError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 120


def print_to_pdf(page: Path) -> Path:
    """Returns the PDF beside the page.

    Raises:
        ConfigError: No Chromium is installed, or it fails; the page itself stays as it is.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ConfigError(f"A PDF needs Chromium ({', '.join(BROWSERS)}), found none; the page {page} is written")
    target = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--disable-gpu", "--no-sandbox", "--no-pdf-header-footer"]
        places = [f"--user-data-dir={profile}", f"--print-to-pdf={target.resolve()}", page.resolve().as_uri()]
        try:
            subprocess.run([browser, *options, *places], check=True, capture_output=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(
                f"{browser} could not print {page} ({type(error).__name__}); the page is written"
            ) from None
    if not target.exists():
        raise ConfigError(f"{browser} wrote no PDF of {page}; the page itself is written")
    return target
