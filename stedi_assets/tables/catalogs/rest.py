"""A catalog behind a server that speaks Iceberg's REST protocol."""

from typing import Any

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import RESTError, TableAlreadyExistsError
from pyiceberg.io import FileIO
from requests import RequestException

from stedi_assets.storage.catalog_address import CatalogAddress
from stedi_assets.storage.lake import Lake


class LakeRestCatalog(RestCatalog):
    """PyIceberg's REST catalog, with the lake's own file IO. It ignores credentials that the server offers."""

    def __init__(self, name: str, file_io: FileIO, properties: dict[str, str]) -> None:
        self._file_io = file_io
        super().__init__(name, **properties)

    def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:  # noqa: ARG002  (PyIceberg's)
        return self._file_io

    def create_table_transaction(self, identifier: Any, *arguments: Any, **options: Any) -> Any:
        """Have the server create a table, if it does not exist, and return a transaction on it.

        PyIceberg's own method leaves everything to the transaction, in a form that not every server accepts.
        """
        try:
            made = self.create_table(identifier, *arguments, **options)
        except TableAlreadyExistsError:
            # Another process created it, perhaps one that died before the first snapshot.
            made = self.load_table(identifier)
            if made.current_snapshot():
                raise
        return made.transaction()


def open_catalog(name: str, lake: Lake, file_io: FileIO, _: dict[str, str]) -> LakeRestCatalog:
    """Return PyIceberg's catalog."""
    return LakeRestCatalog(name, file_io, _connection(lake.catalog))


def spark_settings(lake: Lake) -> dict[str, str]:
    """Return the settings of Spark's REST catalog. Spark hides settings that are called a token or a credential."""
    # Without a warehouse's name, the server is asked for its own.
    return {"type": "rest", "warehouse": "", **_connection(lake.catalog)}


def _connection(address: CatalogAddress) -> dict[str, str]:
    return {
        "uri": address.uri,
        **({"warehouse": address.warehouse} if address.warehouse else {}),
        **_credentials(address),
    }


def _credentials(address: CatalogAddress) -> dict[str, str]:
    """Return a client's id and secret, by which both get an OAuth 2 token; or a token that exists already."""
    if not address.password:
        return {}
    return {"credential": f"{address.user}:{address.password}"} if address.user else {"token": address.password}


def what_is_wrong(lake: Lake, error: Exception) -> str | None:
    """Return the message for an error of the server; None for any other."""
    if not isinstance(error, (RESTError, RequestException)):
        return None
    return (
        f"The catalog of {lake.location}, {lake.catalog.uri}, cannot be used ({type(error).__name__}). Check that the "
        "server can be reached and knows the warehouse of STEDI_CATALOG_WAREHOUSE, and that STEDI_CATALOG_USER and "
        "STEDI_CATALOG_PASSWORD may use it."
    )
