"""How long a person waits for `hivemill plan` and `hivemill --help`, the two that are typed most.

    make bench NAME=plan

There is no peer; the ratio is the median of `plan` over the bound of 2 s. Below 1 is good.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks._commands import seconds_of
from benchmarks._harness import median, print_result, print_table

BOUNDS_SECONDS = {"plan": 2.0, "--help": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="hivemill-plan-") as place:
        seconds_of("init", "demo", folder=Path(place))
        folder = Path(place) / "demo"
        words = {"plan": ("plan", "--date", "2026-11-15"), "--help": ("--help",)}
        medians = {
            name: median(seconds_of(*line, folder=folder)[0] for _ in range(repeats)) for name, line in words.items()
        }
    rows = [(name, f"{medians[name]:.2f}", f"{bound:.1f}") for name, bound in BOUNDS_SECONDS.items()]
    print_table(("command", "seconds", "bound"), rows)
    ratios = {name: round(medians[name] / bound, 3) for name, bound in BOUNDS_SECONDS.items()}
    print_result("plan", ratios["plan"], "bound of 2 s", "seconds over bound", help_ratio=ratios["--help"])


if __name__ == "__main__":
    main()
