"""Kafka is run with the archive of its classes where there is one, and without it where there is none."""

from pathlib import Path

from embedded.jvm import FAST_START, Jvm


def jvm(tmp_path: Path, version: str) -> Jvm:
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    (tmp_path / "java" / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return Jvm(java, [tmp_path / "one.jar", tmp_path / "two.jar"])


def test_archive_is_used_from_the_moment_it_exists(tmp_path: Path) -> None:
    java = jvm(tmp_path, "25.0.2")
    assert java.archive is not None
    flag = f"-XX:AOTCache={java.archive}"
    assert flag not in java.command("kafka.Kafka")
    java.archive.touch()
    assert flag in java.command("kafka.Kafka")


def test_benchmarks_run_without_what_makes_the_start_fast(tmp_path: Path) -> None:
    java = jvm(tmp_path, "25.0.2")
    assert java.archive is not None
    java.archive.touch()
    command = java.command("kafka.Kafka", fast_start=False)
    assert FAST_START not in command
    assert not any(str(word).startswith("-XX:AOT") for word in command)


def test_older_java_is_not_given_flags_that_it_does_not_know(tmp_path: Path) -> None:
    java = jvm(tmp_path, "17.0.15")
    assert java.archive is None
    assert not any(str(word).startswith("-XX:AOT") for word in java.command("kafka.Kafka"))


def test_archive_belongs_to_one_java_and_one_set_of_jars(tmp_path: Path) -> None:
    java = jvm(tmp_path, "25.0.2")
    assert java.archive != Jvm(java.java, java.jars[:1]).archive
