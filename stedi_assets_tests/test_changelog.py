"""The changelog says which format a lake has, so that whoever upgrades knows whether it has to be taken over."""

import re

from stedi_assets.cli.arguments import COMMANDS
from stedi_assets.tables import ddl, snapshots
from stedi_assets_tests.support.pages import PROJECT, page

_VERSIONS = re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", page("CHANGELOG.md"), re.MULTILINE)
_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_newest_part_names_the_stored_format() -> None:
    """A new format is told here, with the command that takes over a lake of the old one."""
    heading, newest = _VERSIONS[0]
    assert heading == "Unreleased"
    said = re.search(r"\*\*Stored format\*\*: (\d+)\b.* in tables of Iceberg format (\d+)\.", newest.replace("\n", " "))
    assert said
    assert (int(said[1]), int(said[2])) == (snapshots.FORMAT, ddl.FORMAT)
    assert f"`{snapshots.OLD_POINTER}`" in newest
    assert "`stedi upgrade`" in newest
    assert "upgrade" in COMMANDS


def test_it_keeps_the_form_and_knows_the_version_of_the_package() -> None:
    for heading, text in _VERSIONS:
        assert re.fullmatch(r"Unreleased|\[?\d+\.\d+\.\d+\]? - \d{4}-\d\d-\d\d", heading), heading
        assert {*re.findall(r"^### (.*)$", text, re.MULTILINE)} <= _KINDS
    (version,) = re.findall(r'^    version="(.*)",$', (PROJECT / "setup.py").read_text("utf-8"), re.MULTILINE)
    assert version in page("CHANGELOG.md")
