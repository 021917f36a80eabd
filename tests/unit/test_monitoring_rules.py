"""Alert rules, dashboard and docs: about metrics that exist, and every rule has been seen to fire and to clear."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.monitor import Monitor
from schemas.catalogue import read_catalogue
from schemas.settings import Settings

PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "deploy/prometheus/rules.yaml"
RULE_TESTS = PROJECT / "deploy/prometheus/tests.yaml"
DASHBOARD = PROJECT / "deploy/grafana/walletq.json"
DOCS = PROJECT / "docs/monitoring.md"
METRIC = re.compile(r"\b(?:walletq|process)_[a-z_]+")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def exported() -> dict[str, str]:
    """The metrics of a process, as a query names them, and their kinds."""
    kinds: dict[str, str] = {}
    for family in Monitor("clock", Settings()).metrics.registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        kinds |= {family.name + suffix: family.type for suffix in suffixes}
    return kinds


def queries() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_rules_and_dashboard_ask_for_metrics_that_exist() -> None:
    known = exported().keys()
    asked = {name for query in queries() for name in METRIC.findall(query) if not name.startswith("process_cpu_s")}
    assert len(asked) > 20
    assert asked <= known | {"process_resident_memory_bytes", "process_start_time_seconds"}, asked - known


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    asked = {name for query in queries() for name in METRIC.findall(query)}
    bare = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in asked}
    ours = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in exported() if name.startswith("walletq_")}
    assert ours - bare <= {"walletq_ready"}


def test_every_metric_is_in_the_docs_and_no_other() -> None:
    told = {name for name in METRIC.findall(DOCS.read_text()) if name.startswith("walletq_")}
    ours = {name for name in exported() if name.startswith("walletq_") and not name.endswith(("_sum", "_count"))}
    ours = {name.removesuffix("_bucket") for name in ours}
    roles = {"walletq_allocator", "walletq_mailer", "walletq_operator"}
    assert told - roles == ours


def test_metrics_follow_the_naming_conventions() -> None:
    kinds = exported()
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|millis|minutes|kb)(_|$)", name), name


def test_every_rule_has_a_severity_a_summary_and_a_runbook() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("emergency", "critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
        assert "for" in rule


def test_every_alert_is_in_the_docs() -> None:
    text = DOCS.read_text()
    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in text] == []


def test_pools_have_the_thresholds_of_the_requirements() -> None:
    currencies = read_catalogue().currencies
    assert {code: one.critical_free for code, one in currencies.items()} == {"BTC": 3, "ETH": 2, "USDT": 5, "LTC": 2}


def test_every_alert_is_tested_firing_and_clearing_and_where_its_series_are_missing() -> None:
    tested = {test["name"] for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]}
    wanted = {f"{rule['alert']}: {what}" for rule in rules() for what in ("fires and clears", "unknown")}
    assert wanted <= tested


def test_a_test_of_firing_and_clearing_expects_both() -> None:
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        if test["name"].endswith("fires and clears"):
            seen = [bool(one["exp_samples"]) for one in test["promql_expr_test"]]
            assert seen[0] is False, test["name"]
            assert seen[-1] is False, test["name"]
            assert True in seen, test["name"]


@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", str(RULES)],
        ["test", "rules", str(RULE_TESTS)],
        ["check", "config", str(RULES.parent / "prometheus.yaml")],
    ],
    ids=lambda command: f"{command[0]} {Path(command[2]).name}",
)
def test_promtool_passes(command: list[str]) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("there is no promtool; Debian has it in its package prometheus")
    done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
