"""The lake resource for a lake on S3: dagster-aws's S3 resource and encryption.

Loaded only for lakes on S3: boto3 takes a second.
"""

from functools import cached_property

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.storage.lake import Lake


class S3LakeResource(LakeResource):
    """A lake on S3."""

    s3: dg.ResourceDependency[S3Resource]
    kms_key: str | None = Field(default=None, description="The KMS key that encrypts what is written.")

    @cached_property
    def lake(self) -> Lake:
        """Where the tables lie."""
        return Lake.at(
            self.location,
            kms_key=self.kms_key,
            namespace=self.namespace,
            catalog=self._catalog_address,
            s3=self.s3.get_client,
            landing=self.landing,
        )
