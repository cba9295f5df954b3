"""How Spark gets its jars: over real connections, with the certificates and proxies of whoever runs it.

Belongs here: `fetch`, and which jars a session has. That S3A works with them is what every test on S3 shows.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from stedi_assets.cli.main import main
from stedi_assets.settings import SettingsError, read_settings
from stedi_assets.spark import jars, maven
from stedi_assets.spark.jars import ICEBERG, S3, class_path, cluster_settings, require_same_hadoop
from stedi_assets.spark.maven import Artifact, fetch
from stedi_assets.storage.errors import LakeError
from stedi_assets_tests.support.environments import settings_of
from stedi_assets_tests.support.maven_server import (
    ARTIFACT,
    JAR,
    Proxy,
    Repository,
    break_off,
    lead_to,
    proxy,
    refuse,
    repository,
    write_certificate,
)
from stedi_assets_tests.support.terminals import on_terminal, without_codes

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "PIP_PROXY")
# Before a test has it look otherwise.
_OF_THIS_MACHINE = dict(os.environ)
_NOWHERE = "https://127.0.0.1:1/maven2"
# As whoever is not root, for whom permissions count.
_UNPRIVILEGED = ["unshare", "--user", "--map-user=54321"] if os.geteuid() == 0 else []
_FETCH = """
import sys
from pathlib import Path
from stedi_assets.spark.maven import fetch
from stedi_assets_tests.support.maven_server import ARTIFACT
fetch([ARTIFACT], sys.argv[1], Path(sys.argv[2]))
"""
# As `stedi start` does: in a thread, while something else is shown.
_FETCH_MEANWHILE = f"""
import threading
from stedi_assets import terminal
def fetching():
{textwrap.indent(_FETCH, "    ")}
with terminal.progress("{{task.description}}", "{{task.completed}} of {{task.total}}", vanishes=True) as shown:
    shown.add_task("Spark starts", total=8)
    thread = threading.Thread(target=fetching)
    thread.start()
    thread.join()
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody has signed but itself, and its key."""
    return write_certificate(tmp_path_factory.mktemp("certificate") / "own.pem")


@pytest.fixture(autouse=True)
def _no_way_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Forget what this machine says of certificates and proxies, and have no pause between attempts."""
    for name in (*_TRUST, *_PROXIES, *map(str.lower, _PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(maven, "_FIRST_PAUSE_SECONDS", 0)


@pytest.fixture
def server(certificate: Path) -> Iterator[Repository]:
    """A repository over HTTPS whose certificate is not trusted."""
    with repository(certificate) as served:
        yield served


@pytest.fixture
def trusted(server: Repository, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The same, trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return server


@pytest.fixture
def on_the_way() -> Iterator[Proxy]:
    """A proxy."""
    with proxy() as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for jars that nobody has made."""
    return tmp_path / "jars"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache that nobody has made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stedi"


def why_not(address: str, folder: Path, artifact: Artifact = ARTIFACT) -> str:
    """Return why a jar cannot be fetched. Nothing is left of the attempt."""
    with pytest.raises(LakeError) as refused:
        fetch([artifact], address, folder)
    assert not folder.exists() or list(folder.iterdir()) == []
    return str(refused.value)


def pip_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    """Give pip a configuration file."""
    (tmp_path / "pip.conf").write_text(f"[global]\n{line}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))


def process(address: str, folder: Path) -> "subprocess.Popen[str]":
    """Begin to fetch in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", _FETCH, address, folder], stderr=subprocess.PIPE, text=True)


def test_a_jar_is_fetched_from_its_place_for_its_owner_alone(trusted: Repository, folder: Path) -> None:
    fetch([ARTIFACT], f"{trusted.address}/", folder)
    assert [path for path, _ in trusted.asked] == ["/maven2/org/example/things/thing_2.13/1.0/thing_2.13-1.0.jar"]
    (jar,) = folder.iterdir()
    assert jar.name == "thing_2.13-1.0.jar"
    assert jar.read_bytes() == JAR
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(jar.stat().st_mode)) == (0o700, 0o600)


def test_a_certificate_that_is_not_trusted_is_said_and_what_to_do(server: Repository, folder: Path) -> None:
    said = why_not(server.address, folder)
    assert f"thing_2.13-1.0.jar could not be fetched from {server.address} to {folder}" in said
    assert "the certificate is not trusted (self-signed certificate)" in said
    for way in ("HTTPS_PROXY", "SSL_CERT_FILE", "STEDI_MAVEN", "`stedi fetch-jars`", "copy that folder here"):
        assert way in said
    assert server.asked == []


@pytest.mark.parametrize("variable", [name for name in _TRUST if name != "SSL_CERT_DIR"])
def test_a_certificate_that_a_variable_names_is_trusted(
    server: Repository, certificate: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    fetch([ARTIFACT], server.address, folder)
    assert (folder / ARTIFACT.file).read_bytes() == JAR


def test_a_certificate_that_pip_is_told_of_is_trusted(
    server: Repository, certificate: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip_says(monkeypatch, tmp_path, f"cert = {certificate}")
    fetch([ARTIFACT], server.address, folder)
    assert (folder / ARTIFACT.file).read_bytes() == JAR


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_is_none_is_named(
    server: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "company.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    assert f"REQUESTS_CA_BUNDLE names {file}, where no certificates can be read" in why_not(server.address, folder)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "PIP_PROXY", "pip.conf"])
def test_a_proxy_is_used_and_its_password_is_not_shown(
    trusted: Repository,
    on_the_way: Proxy,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    on_the_way.wants = "someone:the password"
    address = on_the_way.address.replace("://", "://someone:the%20password@")
    if variable == "pip.conf":
        pip_says(monkeypatch, tmp_path, f"proxy = {address}")
    else:
        monkeypatch.setenv(variable, address)
    fetch([ARTIFACT], trusted.address, folder)
    assert (folder / ARTIFACT.file).read_bytes() == JAR
    assert on_the_way.asked == [f"CONNECT {trusted.address.split('/')[2]}"]
    assert "password" not in capfd.readouterr().err

    shutil.rmtree(folder)
    trusted.jar = b"a page of a proxy"
    said = why_not(trusted.address, folder)
    assert f"what arrives by the proxy {on_the_way.address} is something else, such as a proxy's own page" in said
    assert "password" not in said


def test_a_proxy_is_left_out_where_it_is_to_be(
    trusted: Repository, on_the_way: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", on_the_way.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetch([ARTIFACT], trusted.address, folder)
    assert on_the_way.asked == []
    trusted.does = [refuse(403)]
    assert "by the proxy" not in why_not(trusted.address, folder.with_name("more"))


def test_a_repository_over_plain_http_is_reached_by_its_proxy(
    on_the_way: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", on_the_way.address)
    with repository(None) as plain:
        fetch([ARTIFACT], plain.address, folder)
        assert on_the_way.asked == [f"GET {plain.address}/{ARTIFACT.path}"]
    assert (folder / ARTIFACT.file).read_bytes() == JAR


@pytest.mark.parametrize(("code", "words"), [(403, "403 Forbidden"), (407, "407 Proxy Authentication Required")])
def test_a_proxy_that_refuses_is_named(
    trusted: Repository, on_the_way: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    on_the_way.refuses = code
    monkeypatch.setenv("HTTPS_PROXY", on_the_way.address.replace("://", "://someone:secret@"))
    said = why_not(trusted.address, folder)
    assert f": the answer is {words} by the proxy {on_the_way.address}. " in said
    assert "secret" not in said
    assert len(on_the_way.asked) == 1
    assert trusted.asked == []


@pytest.mark.parametrize(
    ("code", "words", "attempts"),
    [(404, "404 Not Found", 1), (403, "403 Forbidden", 1), (401, "401 Unauthorized", 1), (503, "503 Service", 4)],
)
def test_an_answer_that_is_an_error_is_said_and_one_that_may_pass_is_waited_for(
    trusted: Repository, folder: Path, code: int, words: str, attempts: int
) -> None:
    trusted.does = [refuse(code)] * 9
    said = why_not(trusted.address, folder)
    assert f": the answer is {words}" in said
    assert "words of the other side" not in said
    assert len(trusted.asked) == attempts


def test_a_jar_that_breaks_off_is_fetched_again(trusted: Repository, folder: Path) -> None:
    trusted.does = [break_off, refuse(503), break_off]
    fetch([ARTIFACT], trusted.address, folder)
    assert (folder / ARTIFACT.file).read_bytes() == JAR
    assert len(trusted.asked) == 4


def test_a_jar_that_always_breaks_off_is_not_there(trusted: Repository, folder: Path) -> None:
    trusted.does = [break_off] * 9
    assert f"the answer breaks off {len(JAR) // 2:,} bytes before its end" in why_not(trusted.address, folder)
    assert len(trusted.asked) == 4


@pytest.mark.parametrize("content", [JAR[:-1] + b"!", b"", JAR * 2])
def test_a_jar_with_another_digest_is_not_there(trusted: Repository, folder: Path, content: bytes) -> None:
    trusted.jar = content
    said = why_not(trusted.address, folder)
    assert "something else, such as a proxy's own page" in said
    assert f"not {len(JAR):,} with {ARTIFACT.sha256}" in said
    assert len(trusted.asked) == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (_NOWHERE, "the connection fails (Connection refused)"),
        ("https://nowhere.invalid/maven2", "the name is not known to this machine's DNS"),
    ],
)
def test_a_repository_that_cannot_be_reached_is_said(folder: Path, address: str, words: str) -> None:
    assert f"could not be fetched from {address} to {folder}: {words}. " in why_not(address, folder)


def test_a_repository_that_speaks_no_tls_is_said(folder: Path) -> None:
    with repository(None) as plain:
        said = why_not(plain.address.replace("http:", "https:"), folder)
    assert "no encrypted connection can be made" in said


def test_a_kind_of_proxy_that_cannot_be_used_is_said(
    trusted: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://someone:secret@127.0.0.1:1080")
    said = why_not(trusted.address, folder)
    assert ": there is no way by the proxy socks5://127.0.0.1:1080, which is not an HTTP proxy. " in said


def test_a_credential_goes_to_the_repository_and_nowhere_else(
    trusted: Repository, certificate: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = trusted.with_credential("someone", "the%40password")
    with repository(certificate) as elsewhere:
        trusted.does = [lead_to(elsewhere.address)]
        fetch([ARTIFACT], address, folder)
        (_, here), (_, there) = *trusted.asked, *elsewhere.asked
    assert here["Authorization"] == "Basic c29tZW9uZTp0aGVAcGFzc3dvcmQ="
    assert there["Authorization"] is None
    trusted.does = [refuse(401)]
    said = why_not(address, folder.with_name("more")) + capfd.readouterr().err
    assert trusted.address in said
    assert "someone" not in said
    assert "password" not in said


def test_a_credential_is_not_shown_where_a_setting_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = "https://someone:secret@maven.internal/maven2", "ftp://someone:secret@maven.internal"
    assert "secret" not in repr(settings_of({"STEDI_MAVEN": good}))
    with pytest.raises(SettingsError) as refused:
        settings_of({"STEDI_MAVEN": bad})
    assert str(refused.value) == (
        "STEDI_MAVEN=*** is not possible. Use the address of a Maven repository, such as https://repo1.maven.org/maven2."
    )
    monkeypatch.setenv("STEDI_MAVEN", "https://someone:secret@127.0.0.1:1/maven2")
    assert main(["fetch-jars"]) == 1
    said = capsys.readouterr().err
    assert "from https://127.0.0.1:1/maven2 to" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "address",
    ["maven.internal", "https://", "https://host:port/", "file:///maven2", "https://host/a b", "https://host/?token=x"],
)
def test_what_is_no_address_of_a_repository_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="STEDI_MAVEN"):
        settings_of({"STEDI_MAVEN": address})


def test_two_processes_may_fetch_the_same_at_once(trusted: Repository, folder: Path) -> None:
    both_are_here = threading.Barrier(2)

    def wait(_: BaseHTTPRequestHandler) -> bool:
        both_are_here.wait()
        return False

    trusted.does = [wait, wait]
    processes = [process(trusted.address, folder) for _ in range(2)]
    for each in processes:
        _, said = each.communicate()
        assert each.returncode == 0, said
    assert len(trusted.asked) == 2
    assert [(jar.name, jar.read_bytes() == JAR) for jar in folder.iterdir()] == [(ARTIFACT.file, True)]


def test_what_a_killed_process_leaves_is_no_jar_and_is_removed_when_it_is_old(
    trusted: Repository, folder: Path
) -> None:
    half, go_on = threading.Event(), threading.Event()

    def stop_half_way(handler: BaseHTTPRequestHandler) -> bool:
        break_off(handler)
        handler.wfile.flush()
        half.set()
        go_on.wait()
        return True

    trusted.does = [stop_half_way]
    killed = process(trusted.address, folder)
    half.wait()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    go_on.set()
    (draft,) = folder.iterdir()
    assert draft.name != ARTIFACT.file

    another = folder / f"{ARTIFACT.file}.of-another.part"
    another.write_bytes(b"somebody is writing this")
    os.utime(draft, (0, 0))
    fetch([ARTIFACT], trusted.address, folder)
    assert {path.name for path in folder.iterdir()} == {ARTIFACT.file, another.name}
    assert (folder / ARTIFACT.file).read_bytes() == JAR


def test_a_line_for_each_jar_tells_of_it_and_on_a_terminal_it_counts(trusted: Repository, folder: Path) -> None:
    plain = process(trusted.address, folder)
    _, said = plain.communicate()
    assert said.splitlines() == [
        f"Fetching thing_2.13-1.0.jar, 640,000 bytes, once, from {trusted.address} to {folder}",
        "thing_2.13-1.0.jar: 640,000 bytes",
    ]
    assert said.replace("\n", "").isprintable()

    command = [sys.executable, "-c", _FETCH, trusted.address, str(folder)]
    shown = without_codes(on_terminal(command, columns=120))
    assert "thing_2.13-1.0.jar ━" in shown
    assert " 0.0/640.0 kB" in shown
    assert shown.endswith("━ 640.0/640.0 kB\n")
    assert "thing_2.13-1.0.jar: " not in shown


def test_what_is_fetched_during_other_progress_is_shown_below_it(trusted: Repository, folder: Path) -> None:
    command = [sys.executable, "-c", _FETCH_MEANWHILE, trusted.address, str(folder)]
    shown = without_codes(on_terminal(command, columns=200))
    assert f"Fetching thing_2.13-1.0.jar, 640,000 bytes, once, from {trusted.address} to {folder}\n" in shown
    assert "Spark starts 0 of 8\nthing_2.13-1.0.jar ━" in shown
    assert re.search(r"\rthing_2.13-1.0.jar ━+ 640.0/640.0 kB\nSpark starts 0 of 8\n", shown)


def test_a_folder_that_cannot_be_written_to_is_said(folder: Path, trusted: Repository) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.raises(LakeError, match=rf"could not be written to {folder}: File exists\. .* XDG_CACHE_HOME"):
        fetch([ARTIFACT], trusted.address, folder)


def fill(cache: Path, wanted: tuple[Artifact, ...]) -> None:
    """Put files of the right size into a cache."""
    (cache / "jars").mkdir(parents=True, exist_ok=True)
    for jar in wanted:
        with (cache / "jars" / jar.file).open("wb") as file:
            file.truncate(jar.size)


_READ_ONLY = """
from stedi_assets.spark.jars import class_path, fetch_jars
from stedi_assets.spark.java import kept_cache
from stedi_assets.storage.errors import LakeError
assert kept_cache() is None
print(class_path("https://127.0.0.1:1", on_s3=True))
try:
    fetch_jars("https://127.0.0.1:1")
except LakeError as error:
    print(error)
"""


def test_a_read_only_cache_is_used_where_it_holds_the_jars(cache: Path) -> None:
    if subprocess.run([*_UNPRIVILEGED, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody be somebody else (unshare)")
    fill(cache, (*ICEBERG, *S3))
    for each in (cache / "jars", cache):
        each.chmod(0o500)
    command = [*_UNPRIVILEGED, sys.executable, "-c", _READ_ONLY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for each in (cache, cache / "jars"):
        each.chmod(0o700)
    assert done.returncode == 0, done.stderr
    found, said = done.stdout.splitlines()
    assert found == ":".join(str(cache / "jars" / jar.file) for jar in (*ICEBERG, *S3))
    assert said == (
        f"There is nowhere to keep Spark's jars: {cache} cannot be written to. Set XDG_CACHE_HOME to a folder that can."
    )


def test_a_session_has_the_jars_it_needs_and_no_other(cache: Path) -> None:
    fill(cache, (*ICEBERG, *S3))

    def names(path: str) -> list[str]:
        return [Path(jar).name for jar in path.split(":")] if path else []

    assert names(class_path(_NOWHERE, on_s3=False)) == [jar.file for jar in ICEBERG]
    assert names(class_path(_NOWHERE, on_s3=True)) == [jar.file for jar in (*ICEBERG, *S3)]


def test_only_what_is_missing_or_cut_is_fetched(
    cache: Path, trusted: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Artifact("org.example:here:1.0", 5, "not looked at")
    monkeypatch.setattr(jars, "S3", (here, ARTIFACT))
    for name in ("ICEBERG", "POSTGRESQL"):
        monkeypatch.setattr(jars, name, ())
    fill(cache, (here,))
    (cache / "jars" / ARTIFACT.file).write_bytes(JAR[:-1])
    assert class_path(trusted.address, on_s3=True).endswith(ARTIFACT.file)
    assert [path.rpartition("/")[2] for path, _ in trusted.asked] == [ARTIFACT.file]
    assert (cache / "jars" / ARTIFACT.file).read_bytes() == JAR


def test_the_command_fetches_what_has_another_digest_and_says_where_it_is(
    cache: Path, trusted: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jars, "S3", (ARTIFACT,))
    for name in ("ICEBERG", "POSTGRESQL"):
        monkeypatch.setattr(jars, name, ())
    monkeypatch.setenv("STEDI_MAVEN", trusted.address)
    fill(cache, (ARTIFACT,))
    assert main(["fetch-jars"]) == 0
    assert capsys.readouterr().out == f"Spark finds its jars in {cache / 'jars'}\n"
    assert (cache / "jars" / ARTIFACT.file).read_bytes() == JAR
    assert main(["fetch-jars"]) == 0
    assert len(trusted.asked) == 1


def test_a_cache_that_cannot_stand_on_a_class_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a:b"))
    fill(tmp_path / "a:b" / "stedi", (*ICEBERG, *S3))
    with pytest.raises(LakeError, match=r"cannot be on a class path: it has a :\. Set XDG_CACHE_HOME"):
        class_path(_NOWHERE, on_s3=True)


def test_s3a_is_of_the_hadoop_of_pyspark(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_same_hadoop()
    fill(cache, (*ICEBERG, *S3))
    monkeypatch.setattr(jars, "_HADOOP", "3.4.1")
    said = r"brings Hadoop 3\.4\.2, and S3A is of Hadoop 3\.4\.1: they must be the same\. Install the pyspark"
    with pytest.raises(LakeError, match=said):
        class_path(_NOWHERE, on_s3=True)
    with pytest.raises(LakeError, match=said):
        cluster_settings(on_s3=True)


def test_the_jars_are_few_and_a_cluster_has_the_same() -> None:
    without_sqlite = [jar for jar in (*ICEBERG, *S3) if "sqlite" not in jar.coordinates]
    assert sum(jar.size for jar in without_sqlite) < 130_000_000
    iceberg = "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0,org.xerial:sqlite-jdbc:3.50.3.0"
    assert cluster_settings(on_s3=False)["spark.jars.packages"] == iceberg
    assert cluster_settings(on_s3=True)["spark.jars.packages"] == (
        f"{iceberg},org.apache.hadoop:hadoop-aws:3.4.2,org.apache.iceberg:iceberg-aws-bundle:1.12.0,"
        "software.amazon.awssdk:s3-transfer-manager:2.54.17,software.amazon.awssdk:apache-client:2.54.17"
    )


_ICEBERG_TABLE = """
import sys
from stedi_assets.spark import session
catalog = {
    "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.lake.type": "jdbc",
    "spark.sql.catalog.lake.uri": f"jdbc:sqlite:{sys.argv[2]}/catalog.db",
    "spark.sql.catalog.lake.warehouse": sys.argv[2],
}
spark = session.spark_session("local[1]", "off", catalog, maven=sys.argv[1])
spark.sql("CREATE NAMESPACE lake.tests")
spark.range(3).writeTo("lake.tests.numbers").using("iceberg").create()
print(spark.table("lake.tests.numbers").count())
"""


@pytest.mark.matrix
def test_spark_writes_an_iceberg_table_with_its_catalog_in_sqlite(tmp_path: Path) -> None:
    """With the jars as they were fetched, from wherever this machine has them."""
    command = [sys.executable, "-c", _ICEBERG_TABLE, read_settings().maven, str(tmp_path)]
    done = subprocess.run(command, env=_OF_THIS_MACHINE, capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr
    assert (tmp_path / "catalog.db").is_file()
    assert list(tmp_path.glob("tests/numbers/metadata/*.metadata.json"))
