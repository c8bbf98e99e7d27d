"""Pods of the chart: flags, probes, shards, mounts, rollouts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from click.testing import CliRunner

from exporter.cli import cli
from exporter.config.web.load import load_web_settings
from exporter.identity import allowed_mode
from tests.acceptance.deploy.helm import CI_VALUES, HELMS, NAME, ci, refusal, render, template
from tests.acceptance.deploy.manifests import Object, Objects, parse

TLS = {"cert_file": "/tls.crt", "key_file": "/tls.key"}
MAIN, OWN_PORT = "http-metrics", "probes"


def flags(objects: Objects) -> dict[str, str]:
    """Return the flags by name; a switch has no value."""
    return {name: value for name, _, value in (flag.partition("=") for flag in objects.exporter["args"])}


def volume(objects: Objects, name: str) -> Object:
    (found,) = (each for each in objects.pod["spec"]["volumes"] if each["name"] == name)
    wanted: Object = found
    return wanted


def mounted_at(objects: Objects, name: str) -> Path:
    (found,) = (each for each in objects.exporter["volumeMounts"] if each["name"] == name)
    return Path(found["mountPath"])


# Probes


@pytest.mark.parametrize(
    ("web", "port", "scheme"),
    [
        ({}, MAIN, "HTTP"),
        ({"config": {"basic_auth_users": {"a": "$2b$10$x"}}}, MAIN, "HTTP"),
        ({"existingSecret": "web"}, MAIN, "HTTP"),
        ({"config": {"tls_server_config": TLS}}, MAIN, "HTTPS"),
        ({"config": {"tls_server_config": TLS, "basic_auth_users": {"a": "$2b$10$x"}}}, MAIN, "HTTPS"),
        ({"existingSecret": "web", "tls": True}, MAIN, "HTTPS"),
        ({"config": {"tls_server_config": {**TLS, "client_auth_type": "VerifyClientCertIfGiven"}}}, MAIN, "HTTPS"),
        ({"config": {"tls_server_config": {**TLS, "client_auth_type": "RequireAnyClientCert"}}}, OWN_PORT, "HTTP"),
        (
            {"config": {"tls_server_config": {**TLS, "client_auth_type": "RequireAndVerifyClientCert"}}},
            OWN_PORT,
            "HTTP",
        ),
        ({"existingSecret": "web", "clientCertificates": True}, OWN_PORT, "HTTP"),
    ],
)
def test_probes_work_with_every_web_configuration(web: dict[str, Any], port: str, scheme: str) -> None:
    objects = render(**{f"webConfig__{key}": value for key, value in web.items()})
    for probe, path in (("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")):
        asked = {"scheme": "HTTP", **objects.exporter[probe]["httpGet"]}
        assert asked == {"path": path, "port": port, "scheme": scheme}
    ports = {each["name"]: each["containerPort"] for each in objects.exporter["ports"]}
    assert ports == ({MAIN: 10617, OWN_PORT: 10618} if port == OWN_PORT else {MAIN: 10617})
    assert flags(objects).get("--web.probe-listen-address") == (":10618" if port == OWN_PORT else None)
    assert ("--web.config.file" in flags(objects)) is bool(web)


@pytest.mark.parametrize(("enabled", "port"), [(True, OWN_PORT), (False, MAIN)])
def test_probe_port_is_configurable(enabled: bool, port: str) -> None:
    objects = render(ci("client-certificates"), probeListener__enabled=enabled, probeListener__port=9999)
    assert objects.exporter["livenessProbe"]["httpGet"]["port"] == port
    assert flags(objects).get("--web.probe-listen-address") == (":9999" if enabled else None)


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_probe_without_timing_uses_kubernetes_defaults(probe: str) -> None:
    assert render(**{probe: None}).exporter[probe].keys() == {"httpGet"}


def test_policy_opens_only_the_probe_port_to_all() -> None:
    rules = render(ci("client-certificates")).one("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for rule in rules for port in rule["ports"]] == [MAIN, OWN_PORT]
    restricted = render(ci("full")).one("NetworkPolicy")["spec"]["ingress"]
    assert [(rule["ports"][0]["port"], "from" in rule) for rule in restricted] == [(MAIN, True)]


# Networks


def egress(objects: Objects) -> list[tuple[list[int], bool]]:
    """Return the ports of each rule, and whether it limits the destination."""
    rules = objects.one("NetworkPolicy")["spec"]["egress"]
    return [([port["port"] for port in rule["ports"]], "to" in rule) for rule in rules]


def test_egress_policy_allows_dns_aws_and_extra_rules() -> None:
    needed = [([53, 53], False), ([443], False), ([80], True)]
    on = {"networkPolicy__enabled": True, "networkPolicy__egress__enabled": True}
    assert egress(render(**on)) == needed
    assert "egress" not in render(networkPolicy__enabled=True).one("NetworkPolicy")["spec"]
    collector = {"ports": [{"port": 4318, "protocol": "TCP"}]}
    assert egress(render(**on, networkPolicy__egress__extra=[collector])) == [*needed, ([4318], False)]


def test_egress_policy_allows_the_example_proxy() -> None:
    full = render(ci("full"))
    (proxy,) = (int(each["value"].rpartition(":")[2]) for each in full.exporter["env"] if "PROXY" in each["name"])
    assert ([proxy], True) in egress(full)


def test_policy_allows_the_helm_test_pod() -> None:
    scrapers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    named = {"networkPolicy__enabled": True, "networkPolicy__from": scrapers}
    objects = render(**named)
    (pod,) = objects.of("Pod")
    (rule,) = objects.one("NetworkPolicy")["spec"]["ingress"]
    *given, tester = rule["from"]
    assert given == scrapers
    assert tester["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (untested,) = render(**named, testConnection=False).one("NetworkPolicy")["spec"]["ingress"]
    assert untested["from"] == scrapers


# Monitors


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_monitor_uses_the_scheme_of_the_exporter(kind: str) -> None:
    value, field = (
        kind[0].lower() + kind[1:],
        {"ServiceMonitor": "endpoints", "PodMonitor": "podMetricsEndpoints"}[kind],
    )
    plain = {f"{value}__enabled": True, "serviceMonitor__enabled": kind == "ServiceMonitor"}
    (endpoint,) = render(**plain).one(kind)["spec"][field]
    assert endpoint == {"port": MAIN, "path": "/metrics", "scheme": "http"}
    trust = {"ca": {"secret": {"name": "tls", "key": "ca.crt"}}, "serverName": "exporter"}
    user = {"username": {"name": "scrape", "key": "u"}, "password": {"name": "scrape", "key": "p"}}
    further = {"interval": "1m", "scrapeTimeout": "20s", "tlsConfig": trust, "basicAuth": user}
    secured = plain | {"webConfig__config": {"tls_server_config": TLS}, "telemetryPath": "/a/b"}
    (endpoint,) = render(**secured, **{f"{value}__{key}": each for key, each in further.items()}).one(kind)["spec"][
        field
    ]
    assert endpoint == {"port": MAIN, "path": "/a/b", "scheme": "https", **further}


# Flags


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.name)
def test_container_arguments_are_flags(values: Path) -> None:
    known = {name for parameter in cli.params for name in parameter.opts}
    assert flags(render(values)).keys() <= known
    switches = {name for parameter in cli.params if getattr(parameter, "is_flag", False) for name in parameter.opts}
    for flag in render(values).exporter["args"]:
        name, equals, _ = flag.partition("=")
        assert bool(equals) is (name not in switches), flag


def test_helm_test_runs_an_existing_command() -> None:
    (pod,) = render().of("Pod")
    command, *arguments = pod["spec"]["containers"][0]["args"]
    assert arguments == [f"--web.listen-address={NAME}:10617"]
    assert CliRunner().invoke(cli, [command, *arguments, "--help"]).exit_code == 0
    assert not render(ci("tls")).of("Pod"), "it speaks plain HTTP"


def test_values_reach_the_exporter() -> None:
    objects = render(ci("full"))
    assert flags(objects) == {
        "--config.file": "/etc/cognito-device-exporter/config.yaml",
        "--config.auto-reload-interval": "30s",
        "--web.listen-address": ":10619",
        "--web.telemetry-path": "/devices/metrics",
        "--web.enable-lifecycle": "",
        "--log.level": "debug",
        "--log.format": "json",
    }
    assert "--web.listen-address=:10617" in objects.exporter["args"]
    assert objects.exporter["env"] == [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}]
    assert objects.exporter["image"].startswith("registry.example.com/mirror/cognito-device-exporter@sha256:01234")
    assert mounted_at(objects, "ca") == Path("/etc/ssl/private-ca")
    assert objects.pod["metadata"]["labels"]["tier"] == "monitoring"
    assert objects.pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert field in objects.pod["spec"]


def test_irsa_role_is_on_the_service_account() -> None:
    objects = render(ci("irsa"))
    account = objects.one("ServiceAccount")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
    assert objects.pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    existing = render(ci("existing"))
    assert not existing.of("ServiceAccount")
    assert existing.pod["spec"]["serviceAccountName"] == "devices"


# Shards


def test_one_shard_is_a_deployment_with_recreate() -> None:
    objects = render()
    assert objects.workload["kind"] == "Deployment"
    assert (objects.workload["spec"]["replicas"], objects.workload["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert "--shard" not in flags(objects)
    assert [service["metadata"]["name"] for service in objects.of("Service")] == [NAME]


def test_several_shards_are_a_stateful_set() -> None:
    objects = render(ci("sharded"))
    spec = objects.workload["spec"]
    assert objects.workload["kind"] == "StatefulSet"
    assert (spec["replicas"], flags(objects)["--shard"], spec["podManagementPolicy"]) == (3, "auto/3", "Parallel")
    headless = objects.one("Service", spec["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"
    (spread,) = objects.pod["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == spec["selector"]


def test_shard_has_its_own_unchanging_claim() -> None:
    (claim,) = render(ci("sharded")).workload["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state"
    assert claim["metadata"]["labels"].keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    assert not render(ci("sharded")).of("PersistentVolumeClaim")
    without = render(ci("sharded-pools"))
    assert "volumeClaimTemplates" not in without.workload["spec"]
    assert "emptyDir" in volume(without, "state")


@pytest.mark.parametrize("detail", ["user", "device"])
def test_shards_with_user_detail_require_a_common_key(detail: str) -> None:
    shown = {"shards": 3, "config__defaults": {"detail": detail}}
    said = refusal(**shown)
    assert f"config.pools[0]: 3 shards with identity hmac and detail {detail} need a key that all shards share" in said
    assert "identityKey.existingSecret" in said
    assert render(**shown, identityKey__existingSecret="identity").workload
    assert render(**shown | {"shards": 1}).workload
    assert render(**shown | {"config__defaults": {"detail": detail, "identity": "raw"}}).workload
    assert render(**shown | {"config__defaults": {"detail": detail, "identity_key_file": "/elsewhere/key"}}).workload


def test_missing_key_error_names_the_pool() -> None:
    pools = [{"id": "eu-west-1_AbCdEfGhI"}, {"id": "eu-west-1_JkLmNoPqR", "detail": "user"}]
    assert "config.pools[1]: 2 shards" in refusal(shards=2, config__pools=pools)
    hidden = [pools[0], {**pools[1], "detail": "pool"}]
    assert render(shards=2, config__defaults={"detail": "pool"}, config__pools=hidden).workload


# Mounts


def test_state_is_at_the_configured_path_on_the_claim() -> None:
    assert mounted_at(render(), "state") == Path("/var/lib/cognito-device-exporter")
    assert volume(render(), "state") == {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}}
    full = render(ci("full"))
    assert volume(full, "state")["persistentVolumeClaim"] == {"claimName": NAME}
    assert full.one("PersistentVolumeClaim")["spec"]["storageClassName"] == "gp3"
    existing = render(ci("existing"))
    assert volume(existing, "state")["persistentVolumeClaim"] == {"claimName": "devices"}
    assert not existing.of("PersistentVolumeClaim")
    none = render(persistence__enabled=True, persistence__storageClass="-").one("PersistentVolumeClaim")
    assert none["spec"]["storageClassName"] == ""


def test_key_file_has_an_accepted_mode() -> None:
    objects = render(ci("full"))
    secret = volume(objects, "identity")["secret"]
    assert secret["secretName"] == "identity"
    assert secret["items"] == [{"key": "identity.key", "path": "key"}]
    # The file belongs to root, and the kubelet gives the group of the pod the permissions of the owner.
    assert secret["defaultMode"] | 0o440 == secret["defaultMode"]
    assert secret["defaultMode"] & ~allowed_mode(0) == 0
    assert objects.pod["spec"]["securityContext"]["fsGroup"] == objects.pod["spec"]["securityContext"]["runAsGroup"]
    assert objects.pod["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_operator_files_are_mounted_where_flags_expect() -> None:
    objects = render(ci("existing"))
    assert volume(objects, "config")["secret"]["items"] == [{"key": "devices.yaml", "path": "config.yaml"}]
    assert volume(objects, "web")["secret"]["items"] == [{"key": "web.yaml", "path": "web-config.yaml"}]
    assert flags(objects)["--config.file"] == str(mounted_at(objects, "config") / "config.yaml")
    assert flags(objects)["--web.config.file"] == str(mounted_at(objects, "web") / "web-config.yaml")
    assert "subPath" not in str(objects.exporter["volumeMounts"]), "a file mounted alone never changes"


def test_web_configuration_and_certificates_are_secrets() -> None:
    objects = render(ci("client-certificates"))
    (secret,) = objects.of("Secret")
    web = yaml.safe_load(base64.b64decode(secret["data"]["web-config.yaml"]))
    directory = mounted_at(objects, "tls")
    for name in ("cert_file", "key_file", "client_ca_file"):
        assert Path(web["tls_server_config"][name]).parent == directory
    assert volume(objects, "web")["secret"]["secretName"] == secret["metadata"]["name"]
    assert "tls_server_config" not in str([each for each in objects.all if each["kind"] != "Secret"])


@pytest.mark.parametrize("name", ["basic-auth", "tls", "client-certificates"])
def test_exporter_accepts_the_web_configuration(name: str, tmp_path: Path) -> None:
    (secret,) = render(ci(name)).of("Secret")
    authority = trustme.CA()
    own = authority.issue_cert("exporter.monitoring.svc")
    own.private_key_pem.write_to_path(tmp_path / "tls.key")
    own.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    text = base64.b64decode(secret["data"]["web-config.yaml"]).decode()
    path = tmp_path / "web-config.yaml"
    path.write_text(text.replace("/etc/cognito-device-exporter-tls", str(tmp_path)), encoding="utf-8")
    settings = load_web_settings(path)
    assert (settings.tls is not None) is (name != "basic-auth")


# Rollouts


def pod_annotations(objects: Objects) -> dict[str, str]:
    found: dict[str, str] = objects.pod["metadata"]["annotations"]
    return found


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("checksum/config", {"config__limits": {"series": 5}}),
        ("checksum/config", {"config__pools": [{"id": "eu-west-1_JkLmNoPqR"}]}),
        ("checksum/config", {"identityKey__existingSecret": "identity"}),
        ("checksum/web-config", {"webConfig__config": {"basic_auth_users": {"b": "$2b$10$y"}}}),
    ],
)
def test_changed_configuration_causes_a_rollout(key: str, change: dict[str, Any]) -> None:
    base = {"webConfig__config": {"basic_auth_users": {"a": "$2b$10$x"}}}
    before, after = pod_annotations(render(**base)), pod_annotations(render(**{**base, **change}))
    assert before[key] != after[key]
    other = {"checksum/config", "checksum/web-config"} - {key}
    assert {name: before[name] for name in other} == {name: after[name] for name in other}


@pytest.mark.parametrize("program", HELMS)
@pytest.mark.parametrize("key", ["checksum/config", "checksum/web-config", "kubectl.kubernetes.io/default-container"])
@pytest.mark.parametrize("value", ["mine", ""])
def test_operator_annotations_replace_those_of_the_chart(program: str, key: str, value: str) -> None:
    changes = {"webConfig__config": {"basic_auth_users": {"a": "$2b$10$x"}}}
    given = {key: value, "prometheus.io/scrape": "true"}
    done = template(program=program, podAnnotations=given, **changes)
    assert done.stdout.count(f" {key}: ") == 1
    assert pod_annotations(parse(done.stdout)) == {**pod_annotations(render(**changes)), **given}


def test_release_can_be_one_of_several_shards() -> None:
    assert flags(render(extraArgs=["--shard=1/3"]))["--shard"] == "1/3"
    assert flags(render(shards=3, extraArgs=["--sharding=x"]))["--shard"] == "auto/3"


@pytest.mark.parametrize(
    ("budget", "shown"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "50%"}, {"maxUnavailable": "50%"}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
        ({"minAvailable": 1}, {"minAvailable": 1}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
        ({"minAvailable": None}, {"maxUnavailable": 1}),
        ({"minAvailable": 1, "maxUnavailable": None}, {"minAvailable": 1}),
        ({"minAvailable": 1_000_000}, {"minAvailable": 1_000_000}),
        ({"maxUnavailable": 1_000_000}, {"maxUnavailable": 1_000_000}),
    ],
)
def test_disruption_budget_has_exactly_one_limit(budget: dict[str, Any], shown: dict[str, Any]) -> None:
    spec = render(podDisruptionBudget={"enabled": True, **budget}).one("PodDisruptionBudget")["spec"]
    assert {key: spec[key] for key in spec.keys() & {"minAvailable", "maxUnavailable"}} == shown


def test_rollouts_can_be_replaced_by_reloads() -> None:
    own = {"kubectl.kubernetes.io/default-container": "exporter"}
    assert pod_annotations(render(rolloutOnConfigChange=False, webConfig__config={"basic_auth_users": {}})) == own
    assert "checksum/config" not in pod_annotations(render(ci("existing"))), "nothing is known of what it holds"
    assert pod_annotations(render(log__level="debug")) == pod_annotations(render())
