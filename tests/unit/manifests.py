"""The Kubernetes manifests of deploy/ as they would be applied, and what the operators say of objects of theirs."""

import functools
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"


@dataclass(frozen=True)
class Operator:
    """A Go module that has the schemas of a group of custom objects; nothing of it is run."""

    module: str
    sum: str
    folder: str


KEDA = Operator(
    "github.com/kedacore/keda/v2@v2.20.2", "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=", "config/crd/bases"
)
PROMETHEUS = Operator(
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
    "example/prometheus-operator-crd",
)
OPERATORS = {"keda.sh": KEDA, "monitoring.coreos.com": PROMETHEUS}
"By the group of their objects."

Object = dict[str, Any]
"An object of Kubernetes."


@functools.cache
def rendered(name: str) -> tuple[Object, ...]:
    """The objects of a folder of deploy/kubernetes, by whatever makes them of it on this machine."""
    renderers = {
        "kustomize": ["kustomize", "build"],
        "kubectl": ["kubectl", "kustomize"],
        "go": ["go", "run", KUSTOMIZE, "build"],
    }
    for program, command in renderers.items():
        if shutil.which(program):
            text = subprocess.run([*command, str(FOLDER / name)], check=True, capture_output=True, text=True).stdout
            return tuple(yaml.safe_load_all(text))
    pytest.skip("there is no kustomize, no kubectl and no Go to build it with")


def pod_of(workload: Object) -> Object:
    """The pod of a Job, a Deployment or a StatefulSet, with its labels."""
    template: Object = workload["spec"]["template"]
    return template


def is_custom(thing: Object) -> bool:
    """Whether an operator defines it, and not Kubernetes."""
    return thing["apiVersion"].partition("/")[0] in OPERATORS


@functools.cache
def source_of(operator: Operator) -> Path:
    """The source of a module."""
    if not shutil.which("go"):
        pytest.skip(f"there is no Go to fetch {operator.module} with")
    with tempfile.TemporaryDirectory() as folder:  # outside of any module
        command = ["go", "mod", "download", "-json", operator.module]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=folder).stdout)
    assert answer["Sum"] == operator.sum
    return Path(answer["Dir"])


def check_custom_object(thing: Object) -> None:
    """Raises jsonschema.ValidationError where its operator's CustomResourceDefinition does not allow it."""
    jsonschema.Draft202012Validator(_schema(thing["kind"], thing["apiVersion"])).validate(thing)


@functools.cache
def _schema(kind: str, version: str) -> Any:
    group = version.partition("/")[0]
    operator = OPERATORS[group]
    file = source_of(operator) / operator.folder / f"{group}_{kind.lower()}s.yaml"
    definition = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]
    schemas = {f"{definition['group']}/{one['name']}": one["schema"] for one in definition["versions"]}
    return _strict(schemas[version]["openAPIV3Schema"])


def scaler_parameters(kind: str) -> set[str]:
    """What a trigger of KEDA can be told, which its schema leaves open."""
    source = (source_of(KEDA) / "pkg" / "scalers" / f"{kind}_scaler.go").read_text()
    return set(re.findall(r'keda:"name=(\w+)', source))


def _strict(schema: Any) -> Any:
    """The schema, with no field allowed that it does not name: the API server would drop it without a word."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict
