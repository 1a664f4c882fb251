"""Takes the picture of a run's report page that the README shows (docs/report.png), with Chromium.

.venv/bin/python docs/screenshot.py demo/hivemill/runs/<run id>
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).parent / "report.png"
_MAX_BYTES = 200 * 1024


def take(page: Path, target: Path, width: int, height: int) -> None:
    """Writes a light picture of the page's top as a PNG of at most 200 KiB. Raises RuntimeError where that fails."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise RuntimeError("no Chromium on PATH: install chromium and run again")
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile) / "shot.png"
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += ["--hide-scrollbars", "--blink-settings=preferredColorScheme=1", f"--user-data-dir={profile}/user"]
        command += [f"--window-size={width},{height}", f"--screenshot={shot}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode or not shot.exists():
            raise RuntimeError(f"Chromium took no picture (exit status {done.returncode}): {done.stderr[-500:]}")
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    if target.stat().st_size > _MAX_BYTES:
        raise RuntimeError(f"{target} has {target.stat().st_size:,} bytes, over {_MAX_BYTES:,}: choose less --height")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="holds report.html; `hivemill report` writes it")
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1500)
    options = parser.parse_args()
    page = options.run_folder / "report.html"
    if not page.is_file():
        print(f"{page} is not there: `hivemill report` writes it", file=sys.stderr)
        return 2
    try:
        take(page, options.target, options.width, options.height)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"screenshot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
