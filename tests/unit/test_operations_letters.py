"""`walletq letters preview`: the letters as files, without a server."""

import json
import webbrowser
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.__main__ import app, main
from tests.unit.letters import body, parse
from tests.unit.signatures import KEYS, RSA, pem, verifies

ADDRESS = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **environ: str) -> list[str]:
    settings = {f"WALLETQ_{name}": value for name, value in environ.items()}
    ended = CliRunner().invoke(app, ["letters", "preview", *arguments], env=settings, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return str(ended.stdout).splitlines()


def test_every_letter_is_written_and_told(empty_folder: Path) -> None:
    told = run()
    expected = {
        f".walletq/letters/{locale}-{kind}.{ending}"
        for locale in ("en", "ru")
        for kind in ("assigned", "queued")
        for ending in ("html", "txt", "eml")
    }
    assert set(told) == expected
    assert all((empty_folder / file).read_bytes() for file in told)


def test_the_files_are_the_letter() -> None:
    html, text, mail = (
        Path(file) for file in run("--locale", "RU", "--kind", "assigned", "--to", "out", COMPANY_NAME="Биржа")
    )
    assert (html, text, mail) == (
        Path("out/ru-assigned.html"),
        Path("out/ru-assigned.txt"),
        Path("out/ru-assigned.eml"),
    )
    read = parse(mail.read_bytes())
    assert ADDRESS in text.read_text().splitlines()
    assert text.read_text().strip() == body(read, "plain").strip()
    assert 'src="data:image/png;base64,' in html.read_text()
    assert str(read["Subject"]).startswith("Биржа: ")
    assert message_from_bytes(mail.read_bytes(), policy=policy.default)["From"] == "walletq <deposits@walletq.example>"


def test_as_json() -> None:
    [line] = run("--locale", "en", "--kind", "queued", "--json")
    assert json.loads(line) == {"files": [f".walletq/letters/en-queued.{ending}" for ending in ("html", "txt", "eml")]}


def test_the_users_templates_are_shown(tmp_path: Path) -> None:
    (tmp_path / "mine" / "en").mkdir(parents=True)
    (tmp_path / "mine" / "en" / "queued.txt").write_text("Hold on, you are number {{ place }}")
    _, text, _ = run("--locale", "en", "--kind", "queued", MAIL_TEMPLATES="mine")
    assert Path(text).read_text() == "Hold on, you are number 3\n"


def test_the_mail_is_signed_where_a_key_is_set() -> None:
    key = pem(KEYS[RSA])
    for file in run(MAIL_DKIM_SELECTOR="mail", MAIL_DKIM_KEY=key):
        if file.endswith(".eml"):
            assert verifies(Path(file).read_bytes())


@pytest.mark.parametrize(
    ("arguments", "environ", "problem"),
    [
        (["--locale", "de"], {}, "--locale: there are no letters in de; there are some in en, ru"),
        (["--to", "file"], {}, "--to: file/en-assigned.html cannot be written: "),
        ([], {"WALLETQ_MAIL_TEMPLATES": "missing"}, "WALLETQ_MAIL_TEMPLATES: missing is no folder"),
        ([], {"WALLETQ_MAIL_FROM": "walletq"}, "WALLETQ_MAIL_FROM: expected"),
        ([], {"WALLETQ_MAIL_DKIM_SELECTOR": "mail"}, "go together"),
    ],
)
def test_bad_usage_says_what_is_wrong(
    arguments: list[str],
    environ: dict[str, str],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").write_text("")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["walletq", "letters", "preview", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("opens", [True, False])
def test_open_shows_the_pages(opens: bool, monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    shown: list[str] = []

    def show(url: str) -> bool:
        shown.append(url)
        return opens

    monkeypatch.setattr(webbrowser, "open", show)
    ended = CliRunner().invoke(app, ["letters", "preview", "--kind", "queued", "--open"])
    assert ended.exit_code == (0 if opens else 1)
    assert shown == [(empty_folder / ".walletq/letters" / f"{tag}-queued.html").as_uri() for tag in ("en", "ru")]
    assert opens or "no browser could be started" in ended.stderr
