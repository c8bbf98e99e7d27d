"""Sidecar manifest run by podman, with an application that is an emulated Cognito."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from exporter.emulator import Emulator
from tests.acceptance.deploy.containers import image, podman, require_containers
from tests.acceptance.deploy.manifests import Object, Objects, kustomize, parse
from tests.fakes import eventually
from tests.harness import ACCOUNT, CLASSIC, FAST, HttpResponse, Page
from tests.tools import required_tool
from tests.truth import assert_correct

pytestmark = pytest.mark.timeout(600)

SIDECAR = Path(__file__).parents[3] / "deploy" / "kubernetes" / "overlays" / "sidecar"
COGNITO = 8080
"""Port of the emulated Cognito in the pod."""
USERS = 200

# Podman cannot parse its own output for a text that begins with an empty line.
APPLICATION = f"""\
import sys, threading
from exporter.emulator import Emulator
with Emulator(port={COGNITO}) as emulator:
    emulator.seed_pool("pool", users={USERS}, now=float(sys.argv[1]))
    threading.Event().wait()
"""
PROBE_WRITES = """
import os, sys
for directory in sys.argv[1:]:
    try:
        open(os.path.join(directory, "probe"), "w").close()
        print(directory)
    except OSError:
        pass
"""
SCRAPE = f"""
from urllib.request import Request, urlopen
with urlopen(Request("http://127.0.0.1:10617/metrics", headers={{"Accept": "{CLASSIC}"}}), timeout=5) as answer:
    print(answer.read().decode(), end="")
"""


@dataclass(frozen=True, slots=True)
class RunningPod:
    """Running pod, and the time at which its devices were seeded."""

    pod: str
    seeded_at: float

    def execute(self, container: str, code: str, *arguments: str) -> str:
        """Run Python code in a container of the pod and return its output."""
        return podman("exec", f"{self.pod}-{container}", "python3", "-c", code, *arguments).stdout

    def state(self, container: str) -> Object:
        found: Object = json.loads(podman("container", "inspect", f"{self.pod}-{container}").stdout)[0]
        return found

    @property
    def log(self) -> str:
        """Return the exporter's log."""
        done = podman("logs", f"{self.pod}-cognito-device-exporter")
        return done.stdout + done.stderr

    @property
    def page(self) -> Page:
        """Scrape from the application's container, over the loopback of the pod."""
        return Page.parse(HttpResponse(200, CLASSIC, self.execute("application", SCRAPE).encode()))


@contextmanager
def cognito(seeded_at: float) -> Iterator[tuple[Emulator, str]]:
    """Return an emulator with the same pool as the application's: the same arguments create the same pool."""
    with Emulator() as twin:
        yield twin, twin.seed_pool("pool", users=USERS, now=seeded_at)


def adapted(name: str, seeded_at: float) -> Objects:
    """Return the manifest with names, images, application, pools and credentials replaced."""
    objects = parse(kustomize(SIDECAR))
    config_map = objects.one("ConfigMap")
    config_map["metadata"]["name"] = f"{name}-config"
    config = yaml.safe_load(config_map["data"]["config.yaml"])
    config["defaults"] = {"endpoint_url": f"http://127.0.0.1:{COGNITO}", "refresh_interval": "5s", "detail": "device"}
    with cognito(seeded_at) as (_, pool_id):
        config["pools"] = [{"id": pool_id}]
    config["limits"] = {"rate": FAST}
    config_map["data"]["config.yaml"] = yaml.safe_dump(config)
    objects.workload["metadata"]["name"] = name
    for volume in objects.pod["spec"]["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = f"{name}-config"
    (application,) = (each for each in objects.pod["spec"]["containers"] if each["name"] == "application")
    application |= {"image": image("demo"), "command": ["python3", "-c", APPLICATION, str(seeded_at)]}
    credentials = {
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{COGNITO}",
    }
    environment = [{"name": name, "value": value} for name, value in credentials.items()]
    objects.exporter.update(image=image(), env=environment)
    for container in (application, objects.exporter):
        container["imagePullPolicy"] = "Never"
        # Podman probes with curl in the image, which this image lacks; the manifest's probes are tested separately.
        # Podman would publish these ports on this machine.
        for field in ("livenessProbe", "readinessProbe", "ports"):
            container.pop(field, None)
    return objects


@pytest.fixture(scope="module")
def running_pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPod]:
    require_containers()
    directory = tmp_path_factory.mktemp("play")
    name, seeded_at = f"application-{uuid4().hex[:12]}", time.time()
    manifest, settings = directory / "pod.json", directory / "containers.conf"
    manifest.write_text("\n---\n".join(map(json.dumps, adapted(name, seeded_at).all)), encoding="utf-8")
    settings.write_text(
        # What a container gets otherwise may be more than who runs the tests has to give.
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\nlog_driver = "k8s-file"\n'
        '[engine]\nruntime = "runc"\n',
        encoding="utf-8",
    )
    # A network with only a loopback interface; everything needed is in the pod.
    command = [required_tool("podman"), "kube", "play", "--network=none", str(manifest)]
    environment = {**os.environ, "CONTAINERS_CONF": str(settings)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        pod = RunningPod(f"{name}-pod-0", seeded_at)
        assert eventually(lambda: "msg=listening" in pod.log, within=30), pod.log
        yield pod
    finally:
        podman("kube", "down", str(manifest), check=False)
        podman("volume", "rm", "--force", f"{name}-config")


def test_scrape_of_the_pod_is_correct(running_pod: RunningPod) -> None:
    name = "cognito_exporter_last_sweep_success_timestamp_seconds"
    with cognito(running_pod.seeded_at) as (twin, pool_id):
        assert eventually(lambda: running_pod.page.value(name, user_pool_id=pool_id) is not None, within=60), (
            running_pod.log
        )
        page = running_pod.page
        assert_correct(page, pool_id, twin.truth(pool_id))
    assert page.value("cognito_exporter_state_errors_total") == 0


def test_sidecar_is_isolated_from_the_application(running_pod: RunningPod) -> None:
    who = "import os; print(os.getuid(), sorted(int(name) for name in os.listdir('/proc') if name.isdigit())[0])"
    assert running_pod.execute("cognito-device-exporter", who).split() == ["65532", "1"]
    assert running_pod.execute("application", who).split() == ["10001", "1"]
    mounts = {mount["Destination"] for mount in running_pod.state("cognito-device-exporter")["Mounts"]}
    assert mounts == {"/etc/cognito-device-exporter", "/var/lib/cognito-device-exporter", "/tmp"}  # noqa: S108 - in the container
    assert running_pod.state("application")["Mounts"] == []


def test_exporter_writes_only_to_state_and_tmp(running_pod: RunningPod) -> None:
    directories = ("/", "/etc/cognito-device-exporter", "/tmp", "/opt", "/var/lib/cognito-device-exporter")  # noqa: S108 - in the container
    written = running_pod.execute("cognito-device-exporter", PROBE_WRITES, *directories).split()
    assert written == ["/tmp", "/var/lib/cognito-device-exporter"]  # noqa: S108 - in the container
    security = running_pod.state("cognito-device-exporter")["HostConfig"]
    assert security["ReadonlyRootfs"] is True
    capabilities = running_pod.execute("cognito-device-exporter", "print(open('/proc/1/status').read())")
    assert "CapEff:\t0000000000000000" in capabilities
    assert "NoNewPrivs:\t1" in capabilities
