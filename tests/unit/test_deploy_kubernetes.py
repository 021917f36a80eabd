"""The Kubernetes manifests: valid, safe, and about things that exist."""

import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml

from operations.__main__ import app
from schemas.settings import PREFIX, SECRETS, Settings, read_settings
from schemas.topics import ALLOCATOR_GROUP, PARTITIONS, Names
from tests.unit.manifests import (
    ROOT,
    Object,
    check_custom_object,
    is_custom,
    pod_of,
    rendered,
    scaler_parameters,
)

NEWEST = kubernetes_validate.latest_version()
WORKLOADS = ("Job", "StatefulSet", "Deployment")
PROCESSES = ("StatefulSet", "Deployment")
MOUNT = "/run/secrets/walletq"
CONTENTS = {
    "database-url": "postgresql://walletq@db.example.com/walletq",
    "smtp-url": "smtp://mail.example.com:587",
    "kafka-username": "walletq",
    "kafka-password": "secret",
}


def of_kind(*kinds: str) -> list[Object]:
    found = [thing for thing in rendered("example") if thing["kind"] in kinds]
    assert found
    return found


def test_every_object_is_what_kubernetes_takes() -> None:
    for thing in rendered("example"):
        if not is_custom(thing):
            kubernetes_validate.validate(thing, NEWEST, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "ServiceAccount", "automount": False}, NEWEST, strict=True
        )
    (scaler, *_) = of_kind("ScaledObject")
    (monitor,) = of_kind("PodMonitor")
    for thing, misspelt in ((scaler, {"maxReplicas": 12}), (monitor, {"podMetricsEndpoint": []})):
        with pytest.raises(jsonschema.ValidationError):
            check_custom_object(thing | {"spec": thing["spec"] | misspelt})


def test_scalers_are_what_keda_takes() -> None:
    for thing in of_kind("ScaledObject", "TriggerAuthentication"):
        check_custom_object(thing)
    authentications = {thing["metadata"]["name"]: thing for thing in of_kind("TriggerAuthentication")}
    for scaler in of_kind("ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            parameters = scaler_parameters(trigger["type"])
            secret = authentications[trigger["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
            assert {name.removesuffix("FromEnv") for name in trigger["metadata"]} <= parameters
            assert {one["parameter"] for one in secret} <= parameters


def test_scalers_know_the_group_the_topic_and_what_they_scale() -> None:
    workloads = {(one["kind"], one["metadata"]["name"]): one for one in of_kind(*PROCESSES)}
    scalers = {one["metadata"]["name"]: one["spec"] for one in of_kind("ScaledObject")}
    for spec in scalers.values():
        target = spec["scaleTargetRef"]
        assert "replicas" not in workloads[target.get("kind", "Deployment"), target["name"]]["spec"]
    allocator = scalers["walletq-allocator"]
    assert allocator["maxReplicaCount"] == PARTITIONS
    metadata = allocator["triggers"][0]["metadata"]
    assert (metadata["consumerGroup"], metadata["topic"]) == (ALLOCATOR_GROUP, Names().orders)


def test_every_process_is_scraped_as_the_job_that_the_alerts_know() -> None:
    (monitor,) = of_kind("PodMonitor")
    check_custom_object(monitor)
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    jobs = set()
    for workload in of_kind(*PROCESSES):
        pod = pod_of(workload)
        (container,) = pod["spec"]["containers"]
        labels = pod["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert endpoint["port"] in {port["name"] for port in container["ports"]}
        (job,) = {
            rule["replacement"]
            for rule in endpoint["relabelings"]
            if (rule["targetLabel"], rule["regex"]) == ("job", labels["app.kubernetes.io/component"])
        }
        assert job == f"walletq-{container['args'][0]}"
        jobs.add(job)
    assert {rule["sourceLabels"][0] for rule in endpoint["relabelings"]} == {
        "__meta_kubernetes_pod_label_app_kubernetes_io_component"
    }
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    assert jobs == {config["job_name"] for config in scraped}


def test_pods_keep_to_the_restricted_profile() -> None:
    for workload in of_kind(*WORKLOADS):
        pod = pod_of(workload)["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"].keys() == {"memory"}
        assert pod["enableServiceLinks"] is False, "WALLETQ_HTTP_PORT could be that of a service"


def test_the_user_is_that_of_the_image() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for workload in of_kind(*WORKLOADS):
        assert pod_of(workload)["spec"]["securityContext"]["runAsUser"] == int(user)


def test_processes_are_probed_on_a_port_that_they_have() -> None:
    for workload in of_kind(*PROCESSES):
        (container,) = pod_of(workload)["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        asked = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {get["port"] for get in asked.values()} <= ports
        assert [get["path"] for get in asked.values()] == ["/livez", "/livez", "/readyz"]


def test_selectors_choose_the_pods_of_one_workload() -> None:
    pods = {workload["metadata"]["name"]: pod_of(workload)["metadata"]["labels"] for workload in of_kind(*WORKLOADS)}

    def chosen(selector: Object) -> list[str]:
        return [name for name, labels in pods.items() if selector.items() <= labels.items()]

    for one in of_kind(*PROCESSES, "PodDisruptionBudget"):
        assert chosen(one["spec"]["selector"]["matchLabels"]) == [one["metadata"]["name"]]
    for service in of_kind("Service"):
        assert chosen(service["spec"]["selector"]) == [service["metadata"]["name"]]
    for policy in of_kind("NetworkPolicy"):
        assert chosen(policy["spec"]["podSelector"]["matchLabels"])


def test_an_allocator_is_the_same_member_wherever_it_runs() -> None:
    (allocator,) = of_kind("StatefulSet")
    (container,) = pod_of(allocator)["spec"]["containers"]
    member = {"name": "WALLETQ_MEMBER_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert member in container["env"]
    assert allocator["spec"]["serviceName"] in {service["metadata"]["name"] for service in of_kind("Service")}


def test_pods_run_commands_that_exist() -> None:
    for workload in of_kind(*WORKLOADS):
        command = typer.main.get_command(app)
        for word in pod_of(workload)["spec"]["containers"][0]["args"]:
            command = command.commands[word]  # type: ignore[attr-defined]


def test_settings_are_right_with_the_secrets_that_the_page_lists(tmp_path: Path) -> None:
    secrets = secrets_of_the_page()
    used = set()
    for workload in of_kind(*WORKLOADS):
        pod = pod_of(workload)["spec"]
        (secret,) = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        used.add(secret)
        folder = tmp_path / secret
        folder.mkdir(exist_ok=True)
        for key in secrets[secret]:
            (folder / key).write_text(CONTENTS[key])
        environ = environ_of(pod["containers"][0])
        assert environ.keys() <= {PREFIX + field.upper() for field in Settings.model_fields} | {
            secret + "_FILE" for secret in SECRETS
        }
        settings = read_settings({name: value.replace(MOUNT, str(folder)) for name, value in environ.items()}, tmp_path)
        assert settings.need_kafka()
        assert settings.need_database()
        assert (settings.smtp_url is not None) == ("mail" in pod["containers"][0]["args"])
    for authentication in of_kind("TriggerAuthentication"):
        for one in authentication["spec"]["secretTargetRef"]:
            used.add(one["name"])
            assert one["key"] in secrets[one["name"]]
    assert used == secrets.keys()


def environ_of(container: Object) -> dict[str, str]:
    """The environment, as Kubernetes makes it."""
    maps = {thing["metadata"]["name"]: thing["data"] for thing in of_kind("ConfigMap")}
    environ = {}
    for source in container["envFrom"]:
        environ.update(maps[source["configMapRef"]["name"]])
    for variable in container.get("env", ()):
        environ[variable["name"]] = variable.get("value", "walletq-allocator-0")  # else it is the pod's name
    return environ


def secrets_of_the_page() -> dict[str, set[str]]:
    """Secret → keys, of the table in docs/deployment.md."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    rows = re.findall(r"^\| `(walletq-\w+)` \| ([^|]+) \|", page, re.MULTILINE)
    return {name: set(re.findall(r"`([\w-]+)`", keys)) for name, keys in rows}
