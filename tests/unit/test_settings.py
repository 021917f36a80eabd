"""Settings: where they come from, and what a wrong one says."""

from pathlib import Path

import pytest

from schemas.settings import CONNECTION_FILE, SECRETS, Settings, SettingsError, read_settings

WRONG = {
    "WALLETQ_KAFKA_BOOTSTRAP_SERVERS": [
        *("localhost", "localhost:", "a:1 b:2", "kafka://a:1", "a:65536", "a:0", "a:-1", "a:port", "a:1,", ":1"),
        *("a\n:1", "u@a:1", "::1:9092", "[::1]", "[::1]9092", "[::1:9092"),
        *("a b:1", "a:1, b:2", "a\xa0:1", "a\\b:1", "[::1]x:1", "x[::1]:1", "a:\u0661"),
    ],
    "WALLETQ_KAFKA_SECURITY_PROTOCOL": ["TLS"],
    "WALLETQ_KAFKA_SASL_MECHANISM": ["GSSAPI"],
    "WALLETQ_DATABASE_URL": [
        "localhost",
        "mysql://u:secret@h/d",
        "smtp://u:secret@h",
        "postgresql://u:secret@h:port/d",
        "postgresql://u:secret@h:65536/d",
        "postgresql://u:secret?@h/d",
        "postgresql://u:secret#@h/d",
        "postgresql://u:[secret@h/d",
        "postgresql://u:secret\u2100@h/d",
    ],
    "WALLETQ_SMTP_URL": [
        *("mail.example.com", "http://mail:secret@h", "postgresql://u:secret@h/d", "smtp://u:secret?@h"),
        *(
            "smtp://h:65536",
            "smtp://h:0",
            "smtp://a,b:65536",
            "smtp://secret@h",
            "smtp://secret:@h",
            "smtp://:secret@h",
        ),
    ],
    "WALLETQ_MAIL_FROM": ["a\nb", "  "],
    "WALLETQ_COMPANY_NAME": ["a\x7fb"],
    "WALLETQ_MAIL_DKIM_SELECTOR": ["a b", "-a", "a..b", "a;d=evil.example", "x" * 64],
    "WALLETQ_MEMBER_ID": ["a b", "x" * 101],
    "WALLETQ_TOPIC_PREFIX": ["a/b", "x" * 61],
    "WALLETQ_RETENTION_MS": ["-2", "a week"],
    "WALLETQ_REPLICATION_FACTOR": ["0", "three"],
    "WALLETQ_BATCH_RECORDS": ["0", "1.5", "100000"],
    "WALLETQ_SESSION_TIMEOUT_MS": ["10"],
    "WALLETQ_MAIL_CONNECTIONS": ["0"],
    "WALLETQ_MAIL_LEASE_SECONDS": ["0", "nan"],
    "WALLETQ_MAIL_PER_SECOND": ["0", "-1", "nan", "inf"],
    "WALLETQ_MAIL_PER_DOMAIN_PER_SECOND": ["0", "nan", "many"],
    "WALLETQ_MAIL_QUEUED": ["perhaps"],
    "WALLETQ_MAIL_QUEUED_AFTER_SECONDS": ["-1", "nan"],
    "WALLETQ_MAIL_UNKNOWN": ["forget"],
    "WALLETQ_CLOCK_INTERVAL_SECONDS": ["0", "-1", "61", "nan"],
    "WALLETQ_LOG_LEVEL": ["verbose"],
    "WALLETQ_LOG_FORMAT": ["logfmt"],
    "WALLETQ_HTTP_PORT": ["0", "65536", "http"],
    "WALLETQ_HTTP_HOST": ["a b", "http://h"],
    "WALLETQ_TRACES_OTLP_ENDPOINT": ["collector:4318", "grpc://collector:4317", "http://", "http://h:notaport"],
}
TAKES_ANY_TEXT = {
    "WALLETQ_KAFKA_SASL_USERNAME",
    "WALLETQ_KAFKA_SASL_PASSWORD",
    "WALLETQ_KAFKA_SSL_CAFILE",
    "WALLETQ_KAFKA_SSL_CERTFILE",
    "WALLETQ_KAFKA_SSL_KEYFILE",
    "WALLETQ_KAFKA_SSL_KEY_PASSWORD",
    "WALLETQ_SMTP_TLS_CAFILE",
    "WALLETQ_CATALOGUE",
    "WALLETQ_MAIL_TEMPLATES",
    "WALLETQ_MAIL_DKIM_KEY",
    "WALLETQ_TRACES_FILE",
}
RIGHT = {
    "WALLETQ_KAFKA_SASL_USERNAME": "ann",
    "WALLETQ_KAFKA_SASL_PASSWORD": "pass",
    "WALLETQ_KAFKA_SSL_CERTFILE": "client.pem",
    "WALLETQ_KAFKA_SSL_KEY_PASSWORD": "pass",
    "WALLETQ_DATABASE_URL": "postgresql://u:pass@h/d",
    "WALLETQ_SMTP_URL": "smtp://u:pass@h:587",
    "WALLETQ_MAIL_DKIM_KEY": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_setting_is_named_and_its_secret_is_not_told(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings({variable: value}, tmp_path)
    assert str(raised.value).startswith(variable + ": ")
    assert "secret" not in str(raised.value)


def test_every_setting_has_been_tried_wrong() -> None:
    known = {"WALLETQ_" + name.upper() for name in Settings.model_fields}
    assert known == WRONG.keys() | TAKES_ANY_TEXT


def test_all_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings({"WALLETQ_LOG_LEVEL": "loud", "WALLETQ_BATCH_RECORDS": "0"}, tmp_path)
    assert len(str(raised.value).splitlines()) == 2


def test_sasl_without_its_secrets_says_which_are_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs WALLETQ_KAFKA_SASL_USERNAME and WALLETQ_KAFKA_SASL_PASSWORD"):
        read_settings({"WALLETQ_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, tmp_path)


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        (["WALLETQ_KAFKA_SASL_USERNAME"], "WALLETQ_KAFKA_SASL_PASSWORD"),
        (["WALLETQ_KAFKA_SASL_PASSWORD"], "WALLETQ_KAFKA_SASL_USERNAME"),
        (["WALLETQ_KAFKA_SSL_KEYFILE"], "WALLETQ_KAFKA_SSL_CERTFILE"),
        (["WALLETQ_KAFKA_SSL_KEY_PASSWORD"], "WALLETQ_KAFKA_SSL_CERTFILE"),
        (["WALLETQ_KAFKA_SSL_KEYFILE", "WALLETQ_KAFKA_SSL_KEY_PASSWORD"], "WALLETQ_KAFKA_SSL_CERTFILE"),
    ],
)
def test_a_setting_without_the_one_that_it_needs_is_refused(tmp_path: Path, variables: list[str], missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variables[0]}: .*needs {missing}") as raised:
        read_settings(dict.fromkeys(variables, "secret"), tmp_path)
    assert "secret" not in str(raised.value)
    read_settings(dict.fromkeys([*variables, missing], "x"), tmp_path)


@pytest.mark.parametrize("servers", ["a:1", "a_b.example:65535,[::1]:9092", "[fe80::1%eth0]:9092", "127.0.0.1:1,b:2"])
def test_servers_of_kafka_have_names_or_addresses_of_either_kind(tmp_path: Path, servers: str) -> None:
    assert read_settings({"WALLETQ_KAFKA_BOOTSTRAP_SERVERS": servers}, tmp_path).need_kafka() == servers


def test_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    assert read_settings({"WALLETQ_MEMBER_ID": ""}, tmp_path).member_id is None


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings({}, tmp_path).log_level = "debug"  # type: ignore[misc]


@pytest.mark.parametrize("variable", SECRETS)
def test_secret_may_be_in_a_file(tmp_path: Path, variable: str) -> None:
    (tmp_path / "secret").write_text(RIGHT[variable] + "\n")
    others = {name: value for name, value in RIGHT.items() if name != variable}
    settings = read_settings(others | {variable + "_FILE": str(tmp_path / "secret")}, tmp_path)
    found = getattr(settings, variable.removeprefix("WALLETQ_").lower())
    assert getattr(found, "get_secret_value", lambda: found)() == RIGHT[variable]


def test_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WALLETQ_DATABASE_URL_FILE names .*missing, which cannot be read"):
        read_settings({"WALLETQ_DATABASE_URL_FILE": str(tmp_path / "missing")}, tmp_path)


def test_secret_in_the_environment_and_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("smtp://h:25")
    environ = {"WALLETQ_SMTP_URL": "smtp://h:25", "WALLETQ_SMTP_URL_FILE": str(tmp_path / "secret")}
    with pytest.raises(SettingsError, match="WALLETQ_SMTP_URL and WALLETQ_SMTP_URL_FILE are both set"):
        read_settings(environ, tmp_path)


def test_environment_comes_before_the_secret_file_and_that_before_the_connection_file(tmp_path: Path) -> None:
    connection = tmp_path / CONNECTION_FILE
    connection.parent.mkdir()
    connection.write_text(
        "# written by walletq up\n"
        "WALLETQ_KAFKA_BOOTSTRAP_SERVERS=up:1\nWALLETQ_DATABASE_URL=postgresql://up/d?x=y=z\n"
        "WALLETQ_SMTP_URL=smtp://up:25\nUNKNOWN=1\n"
    )
    (tmp_path / "secret").write_text("postgresql://file/d")
    environ = {
        "WALLETQ_KAFKA_BOOTSTRAP_SERVERS": "environment:1",
        "WALLETQ_DATABASE_URL_FILE": str(tmp_path / "secret"),
    }
    settings = read_settings(environ, tmp_path)
    assert settings.need_kafka() == "environment:1"
    assert settings.need_database() == "postgresql://file/d"
    assert settings.need_smtp() == "smtp://up:25"
    assert read_settings({}, tmp_path).need_database() == "postgresql://up/d?x=y=z"


def test_connection_file_is_left_alone_where_it_is_not_wanted(tmp_path: Path) -> None:
    connection = tmp_path / CONNECTION_FILE
    connection.parent.mkdir()
    connection.write_text("WALLETQ_SMTP_URL=smtp://up:25\n")
    assert read_settings({}, tmp_path, connection_file=False).smtp_url is None


@pytest.mark.parametrize("server", ["kafka", "database", "smtp"])
def test_missing_server_says_what_to_do(tmp_path: Path, server: str) -> None:
    settings = read_settings({}, tmp_path)
    with pytest.raises(SettingsError, match=f"WALLETQ_{server.upper()}.* is not set. Start `walletq up`"):
        getattr(settings, f"need_{server}")()
