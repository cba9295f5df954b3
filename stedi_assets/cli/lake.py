"""The lake that a command works on."""

from stedi_assets.settings import Settings
from stedi_assets.storage.lake import Lake


def lake_of(settings: Settings) -> Lake:
    """Return the lake that the settings name. Raises `LakeError` if it cannot be one."""
    return Lake.at(
        settings.lake,
        kms_key=settings.s3_kms_key,
        namespace=settings.namespace,
        catalog=settings.catalog_address,
        landing=settings.landing,
    )
