"""Where a lake's Iceberg catalog is: in the lake's own SQLite file, in Glue, in PostgreSQL, or behind a REST server."""

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs, urlsplit

POSSIBLE_CATALOGS = (
    "Use sqlite, glue, jdbc:postgresql://host:port/database, or the https:// address of an Iceberg REST catalog; "
    "http:// only on this machine. User and password are set by STEDI_CATALOG_USER and STEDI_CATALOG_PASSWORD."
)
_POSTGRESQL = "jdbc:postgresql://"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class CatalogKind(str, Enum):
    """The kind of a catalog."""

    SQLITE = "sqlite"
    GLUE = "glue"
    POSTGRESQL = "postgresql"
    REST = "rest"


@dataclass(frozen=True)
class CatalogAddress:
    """A catalog's address and credentials, from the settings. `warehouse` is a REST server's name for the lake."""

    uri: str = CatalogKind.SQLITE.value
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    warehouse: str | None = None

    @property
    def kind(self) -> CatalogKind:
        """The kind of this catalog."""
        if self.uri in {CatalogKind.SQLITE, CatalogKind.GLUE}:
            return CatalogKind(self.uri)
        return CatalogKind.POSTGRESQL if self.uri.startswith(_POSTGRESQL) else CatalogKind.REST


def is_possible_catalog(text: str) -> bool:
    """Whether a text can be a catalog's address. It cannot hold a user or a password, because it is shown."""
    if text in {CatalogKind.SQLITE, CatalogKind.GLUE}:
        return True
    try:
        address = urlsplit(text.removeprefix("jdbc:") if text.startswith(_POSTGRESQL) else text)
        has_port = address.port is None or address.port > 0
    except ValueError:
        return False
    if not address.hostname or "@" in address.netloc or address.fragment or not has_port:
        return False
    if text.startswith(_POSTGRESQL):
        # The parameters that both drivers know, Java's and Python's.
        known = parse_qs(address.query, keep_blank_values=True).keys() <= {"sslmode", "sslrootcert"}
        return known and re.fullmatch("/[^/]+", address.path) is not None
    if address.query:
        return False
    return address.scheme == "https" or (address.scheme == "http" and address.hostname in _LOOPBACK)
