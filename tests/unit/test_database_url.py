"""The database's URL, as its driver reads it."""

from pathlib import Path

import pytest
import trustme

from schemas.settings import SettingsError, read_settings
from storage.database import check_url, unreachable

URL = "postgresql://u:secret@h/d"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"{URL}?sslmode=required", "one of: disable, allow, prefer, require, verify-ca, verify-full"),
        (f"{URL}?sslmode", "expected a URL"),
        (f"{URL}?sslmode=verify-full&sslrootcert=missing.crt", "No such file or directory"),
        (f"{URL}?sslmode=require&sslrootcert={__file__}", "certificates or a key that it names cannot be used"),
        (f"{URL}?sslmode=require&ssl_min_protocol_version=TLSv9", "TLSv9"),
        (f"{URL}?target_session_attrs=master", "target_session_attrs"),
        ("postgresql:///d?host=h&port=65536", "a port from 1 to 65535"),
        ("postgresql:///d?host=h&port=secret", "expected a URL"),
        ("postgresql://u:secret@h,,i/d", "expected a URL"),
        ("postgresql://u:secret@secret@h/d", "%40"),
    ],
)
def test_a_url_that_the_driver_does_not_take_is_named_and_its_secret_is_not_told(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"^WALLETQ_DATABASE_URL: ") as raised:
        check_url(url)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        *(URL, "postgres://h", "postgresql://[::1]:5432/d", "postgresql://u:p%40ss@h/d"),
        *("postgresql:///d?host=/run/postgresql", "postgresql://a,b/d?target_session_attrs=read-write"),
        *(f"{URL}?sslmode={mode}" for mode in ("disable", "allow", "prefer", "require")),
        f"{URL}?application_name=walletq&sslnegotiation=postgres",
    ],
)
def test_a_url_that_the_driver_takes_is_right(url: str) -> None:
    check_url(url)


def test_several_servers_may_be_named(tmp_path: Path) -> None:
    url = "postgresql://u:secret@a:5432,b:5433/d?target_session_attrs=read-write"
    check_url(read_settings({"WALLETQ_DATABASE_URL": url}, tmp_path).need_database())
    said = str(unreachable(url, OSError("refused")))
    assert "a:5432,b:5433/d" in said
    assert "secret" not in said
    with pytest.raises(SettingsError):
        check_url(url.replace("5433", "65536"))


def test_a_certificate_that_is_there_is_right(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    check_url(f"{URL}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.crt'}")
