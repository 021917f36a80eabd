"""The documentation against what there is: commands, make's targets, links, alerts and their runbooks."""

import re
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from operations.__main__ import app
from schemas.catalogue import read_catalogue
from tests.mutants.mutants import MUTANTS
from tests.pages import DOCS, PAGES, ROOT, Page

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RUNBOOKS = DOCS / "runbooks"
MANIFESTS = (ROOT / "deploy" / "kubernetes").rglob("*.yaml")
KUBERNETES = {name for file in MANIFESTS for name in re.findall(r"^  name: (\S+)$", file.read_text(), re.MULTILINE)}
GUIDE = Page(DOCS / "BACKGROUND_QUEUE_PROCESSING_GUIDE.md")

COMMANDS = sorted({tuple(command) for path in PAGES for command in Page(path).commands()})
TARGETS = sorted(
    {line.split()[1] for path in PAGES for line in Page(path).console() if re.match(r"make [a-z]", line)},
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command_of_the_documentation_exists_with_these_options(arguments: tuple[str, ...]) -> None:
    command = get_command(app)
    rest = list(arguments)
    while rest and isinstance(command, TyperGroup):
        name = rest.pop(0)
        assert name in command.commands, f"there is no walletq {' '.join(arguments)}"
        command = command.commands[name]
    if rest:
        command.make_context("walletq", rest)  # raises where it could not be run so


@pytest.mark.parametrize("arguments", [one for one in COMMANDS if "replay" in one], ids=" ".join)
def test_no_page_sets_a_network_for_more_than_one_order(arguments: tuple[str, ...]) -> None:
    if any(argument.startswith("network=") for argument in arguments):
        assert "--order" in arguments or re.search(r"/[0-9]+/[0-9]+ ", " ".join(arguments))


def test_page_about_the_proof_names_every_mutant() -> None:
    page = (DOCS / "proof.md").read_text()
    named = re.findall(r"^\| (.*) \| (?:nothing|the simulation|`(?:unit|integration)/)", page, re.MULTILINE)
    assert set(named) == {mutant.name for mutant in MUTANTS}
    seen = sum(not mutant.explained for mutant in MUTANTS)
    assert f"| {len(MUTANTS)} mistakes, {seen} seen |" in page


@pytest.mark.parametrize("target", TARGETS)
def test_target_of_the_documentation_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in Page(path).links():
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in Page(there).anchors(), f"{link}: no heading of that name"


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    alerts = re.findall(r"^\s*- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
    assert alerts
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == set(alerts)


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_runbook_says_what_an_operator_asks(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == f"# {path.stem}"
    assert [line for line in lines if line.startswith("## ")] == ["## Look", "## Do", "## Over"]
    assert any(line.startswith("**Customers") for line in lines)
    assert Page(path).commands(), "nothing to look with"


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_runbook_asks_what_is_there(path: Path) -> None:
    for line in Page(path).console():
        if line.startswith("kubectl "):
            assert line.startswith("kubectl --namespace walletq "), "the namespace of the example, which is no default"
            asked = re.findall(r"\bwalletq-[a-z]+", line)
            assert set(asked) <= KUBERNETES, line
        for host in re.findall(r"https?://([^/:]+)", line):
            assert host == "127.0.0.1", f"{line}: nothing that is shipped has a host of this name"


def test_guide_has_the_thresholds_of_the_catalogue() -> None:
    rows = GUIDE.table("pool", "CRITICAL at or below", "EMERGENCY")
    told = {row["pool"].split(",")[0]: int(row["CRITICAL at or below"].split()[0]) for row in rows}
    assert told == {code: currency.critical_free for code, currency in read_catalogue().currencies.items()}
