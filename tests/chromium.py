"""Where the browser of the browser tests is; installed by `python tests/chromium.py --install`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# In a container: no sandbox, no /dev/shm to speak of, no GPU.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"]
MISSING = (
    "No Chromium was found on PATH or in Playwright's cache. Install one: "
    "`apt-get install chromium` (as root), or `python -m playwright install chromium`."
)


def find() -> str | None:
    """The path of a Chromium: on PATH, or the one that Playwright installed."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """Install Chromium the way this machine allows: apt-get as root, otherwise Playwright's own."""
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    if find() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main() -> int:
    """Find or install Chromium; CI fails here without one, elsewhere the tests are skipped."""
    if find() is None and "--install" in sys.argv:
        install()
    path = find()
    if path is not None:
        sys.stdout.write(f"Browser tests use {path}\n")
        return 0
    if os.environ.get("CI"):
        sys.stderr.write(f"CI must run the browser tests. {MISSING}\n")
        return 1
    sys.stderr.write(f"The browser tests will be skipped. {MISSING}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
