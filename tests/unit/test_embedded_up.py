"""Settings go to the consumers as the variables that make the same settings again."""

from pathlib import Path

from operations.up import environment
from schemas.settings import read_settings


def test_environment_gives_the_same_settings_again(tmp_path: Path) -> None:
    variables = {
        "WALLETQ_KAFKA_BOOTSTRAP_SERVERS": "one:9092,two:9092",
        "WALLETQ_DATABASE_URL": "postgresql://postgres:secret@127.0.0.1:5432/walletq",
        "WALLETQ_SMTP_URL": "smtp://127.0.0.1:2525",
        "WALLETQ_CATALOGUE": "catalogue.toml",
        "WALLETQ_BATCH_RECORDS": "7",
        "WALLETQ_MAIL_LEASE_SECONDS": "1.5",
    }
    settings = read_settings(variables, tmp_path)
    assert environment(settings) == variables
    assert read_settings(environment(settings), tmp_path) == settings
