"""All benchmarks of time, one after the other, each as a process of its own.

    python -m stedi_assets_tests.benchmarks LAKE [--runs 3]

LAKE holds landing files. Nothing else should run meanwhile: it takes about an hour.
"""

import argparse
import subprocess
import sys


def main() -> int:
    """Run all; return the first exit code that is not 0, or 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake")
    parser.add_argument("--runs", default="3")
    chosen = parser.parse_args()
    runs = ["--runs", chosen.runs]
    commands = [
        ["whole_job", chosen.lake, *runs],
        ["from_the_ui", chosen.lake, *runs],
        ["landing", chosen.lake, "--copies", "20"],
        ["landing", chosen.lake, "--copies", "100"],
        ["updates", chosen.lake, "--days", "20", "--runs", "1"],
        ["updates", chosen.lake, "--days", "100", "--updates-only", "--runs", "1"],
        ["wide", chosen.lake, "--days", "100"],
        ["wide", chosen.lake, "--days", "20", "--executors", "2", "--skew"],
    ]
    failed = 0
    for name, *arguments in commands:
        command = [sys.executable, "-m", f"{__package__}.{name}", *arguments]
        print(f"\n$ python -m {__package__}.{name} {' '.join(arguments)}", flush=True)
        failed = failed or subprocess.run(command, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
