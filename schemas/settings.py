"""The settings: environment variables `WALLETQ_…`, read once, validated, frozen.

Sources, first wins: the environment, a file named by `WALLETQ_…_FILE` (for secrets), and
`.walletq/connection.env` in the working folder, which `walletq up` writes while it runs.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

PREFIX = "WALLETQ_"
CONNECTION_FILE = Path(".walletq") / "connection.env"
SECRETS = (
    "WALLETQ_DATABASE_URL",
    "WALLETQ_SMTP_URL",
    "WALLETQ_KAFKA_SASL_USERNAME",
    "WALLETQ_KAFKA_SASL_PASSWORD",
    "WALLETQ_KAFKA_SSL_KEY_PASSWORD",
    "WALLETQ_MAIL_DKIM_KEY",
)

_URLS = {
    "database_url": (("postgresql", "postgres"), "postgresql://user@host:5432/walletq"),
    "smtp_url": (("smtp", "smtps"), "smtp://host:587"),
}
_PAIRS = (
    ("kafka_sasl_username", "kafka_sasl_password"),
    ("kafka_sasl_password", "kafka_sasl_username"),
    ("kafka_ssl_keyfile", "kafka_ssl_certfile"),
    ("kafka_ssl_key_password", "kafka_ssl_certfile"),
)
"The first needs the second. Of the DKIM pair the mailer alone has both: it is the mailer that checks it."
_HOST_AND_PORT = re.compile(r"(?:\[[^\s\[\],@]+\]|[^\s,:@\[\]/\\]+):([0-9]{1,5})")
_SELECTOR = r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*$"


class SettingsError(Exception):
    """A setting is missing or wrong. The message names it and says what to do; exit code 2."""


class Settings(BaseModel):
    """Everything that walletq can be told from outside. Field `x` is the variable `WALLETQ_X`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka_bootstrap_servers: str | None = None
    "Where Kafka is: host:port, several separated by commas; an IPv6 address stands in brackets."
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_key_password: SecretStr | None = None

    database_url: SecretStr | None = None
    "Where PostgreSQL is: postgresql://user:password@host:port/database."
    smtp_url: SecretStr | None = None
    "Where mail goes: smtp://user:password@host:587 (STARTTLS) or smtps://…:465."
    smtp_tls_cafile: Path | None = None
    "Certificates in PEM by which the mail server's is verified; the system's where it is not set."
    mail_from: str = "walletq <deposits@walletq.example>"
    company_name: str = "walletq"
    mail_templates: Path | None = None
    "A folder with templates of mails, which take the place of the shipped ones with the same names."
    mail_dkim_selector: Annotated[str, Field(max_length=128, pattern=_SELECTOR)] | None = None
    "With the key: mails are signed (DKIM) for the domain of WALLETQ_MAIL_FROM; DNS has <selector>._domainkey.<domain>."
    mail_dkim_key: SecretStr | None = None
    "An RSA or Ed25519 private key in PEM."

    member_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None
    "Set: a static member of the consumer group, which has its partitions again at once after a restart."
    catalogue: Path | None = None
    "A TOML file with the currencies; the shipped one where it is not set."

    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,60}$")] = ""
    "Put before the name of every topic and consumer group, so that several walletqs can share a Kafka."
    retention_ms: Annotated[int, Field(ge=-1)] = -1
    "Milliseconds that the topics keep records; -1 is for ever."
    replication_factor: Annotated[int, Field(ge=1, le=32)] | None = None
    "Copies of each partition; unset: 3 where there are three brokers, else 1."

    batch_records: Annotated[int, Field(ge=1, le=10_000)] = 4_000
    "The most records that one transaction of the allocator covers."
    session_timeout_ms: Annotated[int, Field(ge=6_000, le=300_000)] = 10_000
    "After so many milliseconds without a heartbeat another member takes the partitions over."
    mail_connections: Annotated[int, Field(ge=1, le=100)] = 8
    "The most SMTP connections of one mailer, and so the most mails in flight."
    mail_lease_seconds: Annotated[float, Field(ge=1, le=3_600)] = 60
    "Seconds for which a claimed delivery belongs to its mailer."
    mail_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    "The most mails that one mailer sends in a second; unset: no limit."
    mail_per_domain_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    "The most of them to one domain; unset: no limit."
    mail_unknown: Literal["resend", "hold"] = "resend"
    "What becomes of a mail whose outcome is unknown (connection lost after the final dot)."
    mail_queued: bool = False
    "Whether customers get a mail, too, when their order waits for a wallet, with its place in the queue."
    mail_queued_after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 10
    "Seconds that an order waits before that mail is due."
    clock_interval_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5
    "Seconds between two looks of the clock at what has expired; longer, and its alert would take it for gone."
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    "auto: readable on a terminal, else JSON, an object on each line."
    http_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    "Where a process tells of its health and its metrics; unset: nowhere."
    http_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,255}$")] = "127.0.0.1"
    "The address that it listens at; it asks nobody who they are."
    traces_otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")] | None = None
    "Where traces go, by OTLP over HTTP: http://collector:4318, to which /v1/traces is added."
    traces_file: Path | None = None
    "A file to which traces are added, a span as JSON on each line."

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _hosts_and_ports(cls, value: str | None) -> str | None:
        if value is not None and not all(map(_is_host_and_port, value.split(","))):
            raise ValueError(
                "expected host:port, several separated by commas, a port from 1 to 65535, an IPv6 address in brackets"
            )
        return value

    @field_validator("database_url", "smtp_url")
    @classmethod
    def _url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        schemes, example = _URLS[str(info.field_name)]
        url = _split(value.get_secret_value(), example, may_have_hosts=info.field_name == "database_url")
        if url.scheme not in schemes or not (url.hostname or url.query):
            raise ValueError(f"expected a URL such as {example}")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        url = urlsplit(value.get_secret_value() if value else "")
        if bool(url.username) != bool(url.password):
            raise ValueError("expected a user and a password, or neither: smtp://user:password@host:587")
        return value

    @field_validator("traces_otlp_endpoint")
    @classmethod
    def _port_is_a_number(cls, value: str | None) -> str | None:
        if value is not None:
            _split(value, "http://collector:4318")
        return value

    @field_validator("mail_from", "company_name")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value.strip() or any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise ValueError("expected text on one line")
        return value

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> "Settings":
        if self.kafka_security_protocol.startswith("SASL") and (
            self.kafka_sasl_username is None or self.kafka_sasl_password is None
        ):
            raise ValueError(
                f"WALLETQ_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs "
                "WALLETQ_KAFKA_SASL_USERNAME and WALLETQ_KAFKA_SASL_PASSWORD"
            )
        return self

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> "Settings":
        for given, needed in _PAIRS:
            if getattr(self, given) is not None and getattr(self, needed) is None:
                raise ValueError(f"{PREFIX}{given.upper()}: it needs {PREFIX}{needed.upper()}, too")
        return self

    def need_kafka(self) -> str:
        """The bootstrap servers, or SettingsError where none are set."""
        return _needed("WALLETQ_KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers, "host:9092")

    def need_database(self) -> str:
        """The database's URL, or SettingsError where none is set."""
        value = self.database_url.get_secret_value() if self.database_url else None
        return _needed("WALLETQ_DATABASE_URL", value, "postgresql://user:password@host:5432/walletq")

    def need_smtp(self) -> str:
        """The mail server's URL, or SettingsError where none is set."""
        value = self.smtp_url.get_secret_value() if self.smtp_url else None
        return _needed("WALLETQ_SMTP_URL", value, "smtp://host:587")


def _is_host_and_port(text: str) -> bool:
    found = _HOST_AND_PORT.fullmatch(text)
    return found is not None and 0 < int(found[1]) < 65_536


def _split(text: str, example: str, *, may_have_hosts: bool = False) -> SplitResult:
    """The parts of a URL, of which the port is one.

    Args:
        may_have_hosts: several of them, separated by commas, whose ports are not looked at.

    Raises:
        ValueError: tells nothing of the URL: wherever it breaks, a password may be near.
    """
    wrong = ValueError(
        f"expected a URL such as {example}, with a port from 1 to 65535; "
        "in a user or a password @ : / ? # [ ] are written %40 %3A %2F %3F %23 %5B %5D"
    )
    try:
        url = urlsplit(text)
        is_right = (may_have_hosts and "," in url.netloc) or url.port != 0
    except ValueError:
        raise wrong from None
    if not is_right:
        raise wrong
    return url


def _needed(name: str, value: str | None, example: str) -> str:
    if value is None:
        raise SettingsError(
            f"{name} is not set. Start `walletq up` in this folder, or say where the server is: {name}={example}"
        )
    return value


def read_settings(
    environ: Mapping[str, str] | None = None, folder: Path | None = None, *, connection_file: bool = True
) -> Settings:
    """Read the settings once.

    Args:
        environ: the environment; `os.environ` where it is left out.
        folder: where `.walletq/connection.env` is looked for; the working folder where it is left out.
        connection_file: look for it at all.

    Raises:
        SettingsError: names the variable, what is wrong with it and what is expected.
    """
    environ = os.environ if environ is None else environ
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    given = {key: value for key, value in environ.items() if key in known and value != ""}
    for key in SECRETS:
        if path := environ.get(key + "_FILE"):
            if key in given:
                raise SettingsError(f"{key} and {key}_FILE are both set; keep one")
            given[key] = _read_secret(key + "_FILE", Path(path))
    connections = read_connection_file((folder or Path()) / CONNECTION_FILE) if connection_file else {}
    for key, value in connections.items():
        if key in known:
            given.setdefault(key, value)
    try:
        return Settings.model_validate({known[key]: value for key, value in given.items()})
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def read_connection_file(path: Path) -> dict[str, str]:
    """The variables in a `connection.env`: NAME=value lines, # comments. Empty where there is no file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def _read_secret(variable: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"{variable} names {path}, which cannot be read: {reason}") from None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = PREFIX + str(problem["loc"][0]).upper() + ": " if problem["loc"] else ""
        lines.append(name + problem["msg"].removeprefix("Value error, "))
    return "\n".join(lines)
