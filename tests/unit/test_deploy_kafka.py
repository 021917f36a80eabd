"""The files of deploy/kafka are about the contract's topics and groups."""

import argparse

from schemas.settings import Settings
from schemas.topics import ALLOCATOR_GROUP, MAILER_GROUP, topics
from tests.servers.guarded_kafka import FOLDER, arguments


def test_topics_are_those_of_the_contract() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--topic")
    parser.add_argument("--partitions", type=int)
    parser.add_argument("--replication-factor", type=int)
    parser.add_argument("--config", action="append")
    made = [parser.parse_args(line) for line in arguments((FOLDER / "topics.txt").read_text())]
    assert [(one.topic, one.partitions, dict(setting.split("=") for setting in one.config)) for one in made] == [
        (topic.name, topic.partitions, topic.settings | {"min.insync.replicas": "2"}) for topic in topics(Settings())
    ]
    assert {one.replication_factor for one in made} == {3}


def test_rights_are_about_topics_and_groups_that_exist() -> None:
    words = [word for line in arguments((FOLDER / "acls.txt").read_text()) for word in line]
    named = {kind: {words[i + 1] for i, word in enumerate(words) if word == kind} for kind in ("--topic", "--group")}
    assert named["--topic"] == {topic.name for topic in topics(Settings())}
    assert named["--group"] == {ALLOCATOR_GROUP, MAILER_GROUP, "upstream-"}
