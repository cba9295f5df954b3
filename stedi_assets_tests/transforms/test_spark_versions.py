"""The transforms and the landing gate on the lowest version of Spark that the project takes, newly installed.

AWS Glue 6.0 runs it. The jars of Iceberg are for Spark 4.1 alone. Run with: `.venv/bin/pytest -m spark_versions`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TRANSFORM_TESTS = ["stedi_assets_tests/ingest/test_landing_gate.py", "stedi_assets_tests/transforms/test_tables.py"]


@pytest.mark.spark_versions
@pytest.mark.parametrize("version", ["4.1.1"])
def test_the_same_code_passes_on_another_spark(version: str, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "-e", f"{PROJECT}[dev]"], check=True)
    # Over the version that the project asks for; pip only warns that it is another.
    subprocess.run([*install, f"pyspark=={version}"], check=True)
    tests = subprocess.run([str(python), "-m", "pytest", *TRANSFORM_TESTS], cwd=PROJECT, check=False)
    assert tests.returncode == 0
