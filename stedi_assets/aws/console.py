"""Addresses in the AWS console, for people. They are put together from names: no network, no credentials."""

_DOMAIN = "console.aws.amazon.com"
# By how the names of their regions begin.
_OTHER_DOMAINS = {"cn-": "console.amazonaws.cn", "us-gov-": "console.amazonaws-us-gov.com"}


def table_in_glue(region: str, database: str, table: str) -> str:
    """Return the address of a table's page in the AWS Glue console."""
    return f"{_console(region, 'glue')}#/v2/data-catalog/tables/view/{table}?database={database}"


def query_editor(region: str) -> str:
    """Return the address of Amazon Athena's query editor."""
    return f"{_console(region, 'athena')}#/query-editor"


def _console(region: str, service: str) -> str:
    domain = next((found for begin, found in _OTHER_DOMAINS.items() if region.startswith(begin)), _DOMAIN)
    return f"https://{region}.{domain}/{service}/home?region={region}"
