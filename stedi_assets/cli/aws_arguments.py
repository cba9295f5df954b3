"""What may follow `stedi aws`. Apart from the command, which loads boto3."""

import argparse

PARAMETERS = {
    "bucket": "the bucket that the stack makes; needed the first time",
    "database": "the Glue database of the tables (stedi)",
    "kms_key": "the ARN of the KMS key that encrypts the lake (S3's own keys)",
    "principal": "the ARN of who may take the roles (whoever the account lets)",
    "alerts_to": "an e-mail address for alerts (nobody's)",
    "workers": "how many G.1X workers a run of the job has (2)",
    "with_crawler": "yes: a crawler on the raw files (no)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows `stedi aws`."""
    actions = parser.add_subparsers(dest="action", required=True)
    deploy = actions.add_parser("deploy", help="create the stack, or update it; what changes is shown first")
    for name, what in PARAMETERS.items():
        deploy.add_argument(f"--{name.replace('_', '-')}", help=what)
    deploy.add_argument("--yes", action="store_true", help="do not ask before anything changes")
    destroy = actions.add_parser("destroy", help="take the stack away, with its bucket, database and keys")
    destroy.add_argument("--delete-data", metavar="BUCKET", help="the bucket's name: what lies in it may go")
    for each in (deploy, destroy):
        each.add_argument("--stack", default="stedi", help="the stack's name (stedi)")
    actions.add_parser("check", help="say what is there of all that the settings name, and what is missing")
