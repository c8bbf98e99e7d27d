"""The generated policies match the requests of the exporter, as recorded by the emulator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from moto.iam.policy_validation import IAMTrustPolicyDocumentValidator

from exporter.aws.permissions import ASSUME_ROLE, PERMISSIONS
from exporter.commands.iam_policy import policies, trust_policy
from exporter.config.load import load_settings, parse_settings
from exporter.emulator import Emulator
from tests.fakes import eventually
from tests.harness import ACCOUNT, FAST, pool, serving

ROOT = Path(__file__).parents[2]
TRUST = ROOT / "deploy/iam"
MODULE = ROOT / "deploy/terraform"
DOCS = ROOT / "docs/iam.md"
OTHER_ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{OTHER_ACCOUNT}:role/device-exporter"
ALWAYS_ALLOWED = {"GetCallerIdentity"}
"""Operations that AWS allows for every principal."""

Pair = tuple[str, str]
"""Action and resource, allowed or requested."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def seed_pool(emulator: Emulator, name: str, **further: Any) -> str:
    """Create a pool with three users, one of them in the group staff."""
    further = {"account_id": ACCOUNT, "users": ["alice", "bob", "carol"], **further}
    pool_id = emulator.seed_pool(name, **further)
    group = {"UserPoolId": pool_id, "GroupName": "staff"}
    where = {name: further[name] for name in ("account_id", "region") if name in further}
    emulator.call("CreateGroup", group, **where)
    emulator.call("AdminAddUserToGroup", {**group, "Username": "alice"}, **where)
    return pool_id


def configuration(emulator: Emulator, *pools: dict[str, Any], rate: dict[str, Any] | None = None) -> str:
    document = {
        "defaults": {"endpoint_url": emulator.url},
        "pools": list(pools),
        "limits": {"rate": rate or FAST},
    }
    return yaml.safe_dump(document)


def recorded(emulator: Emulator, text: str, directory: Path, *pool_ids: str) -> dict[str, set[Pair]]:
    """Return what the exporter requested while it read each pool once, by account."""
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    with serving(text, directory, emulator.url) as running:
        running.after_first_sweep(*pool_ids)
        if "%" in text:  # quotas are read in parallel to the sweep
            requested = "GetProvisionedLimit"
            assert eventually(lambda: any(request.operation == requested for request in emulator.requests()))
    found: dict[str, set[Pair]] = {}
    for request in emulator.requests():
        assert request.code == "OK", request
        if request.operation in ALWAYS_ALLOWED:
            continue
        if request.operation == "AssumeRole":
            pair = "sts:AssumeRole", ROLE
        else:
            account = request.account_id if request.account_id == OTHER_ACCOUNT else "*"
            arn = f"arn:aws:cognito-idp:{request.region}:{account}:userpool/{request.pool_id}"
            pair = f"cognito-idp:{request.operation}", arn if request.pool_id else f"* in {request.region}"
        found.setdefault(request.account_id, set()).add(pair)
    return found


def granted(directory: Path, role: str | None = None) -> set[Pair]:
    """Return what the policy of `iam-policy` allows for the same file."""
    (policy,) = policies(load_settings(directory / "config.yaml"), role)
    pairs = set()
    for statement in policy["Statement"]:
        regions = statement.get("Condition", {}).get("StringEquals", {}).get("aws:RequestedRegion")
        places = [f"* in {region}" for region in regions] if regions else statement["Resource"]
        pairs |= {(action, place) for action in statement["Action"] for place in places}
    return pairs


def test_policy_allows_exactly_the_requests_for_pools(emulator: Emulator, tmp_path: Path) -> None:
    entries = [
        pool(seed_pool(emulator, "everyone")),
        pool(seed_pool(emulator, "filter"), users={"filter": 'status = "Enabled"'}),
        pool(seed_pool(emulator, "usernames"), users={"usernames": ["alice", "bob"]}),
        pool(seed_pool(emulator, "groups"), users={"groups": ["staff"]}),
    ]
    pool_ids = [entry["id"] for entry in entries]
    requested = recorded(emulator, configuration(emulator, *entries), tmp_path, *pool_ids)
    assert requested == {ACCOUNT: granted(tmp_path)}
    assert requested[ACCOUNT] >= {
        (f"cognito-idp:{operation}", f"arn:aws:cognito-idp:eu-west-1:*:userpool/{pool_id}")
        for pool_id in pool_ids
        for operation in ("DescribeUserPool", "AdminListDevices")
    }


def test_policy_of_example_config_allows_exactly_its_requests(emulator: Emulator, tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "config.example.yaml").read_text(encoding="utf-8"))
    for number, entry in enumerate(document["pools"]):
        entry["id"] = seed_pool(emulator, f"pool {number}")
    (rule,) = document["discovery"]
    found = [seed_pool(emulator, "prod-shop", region=region) for region in rule["regions"]]
    for pool_id in found:
        emulator.tag(pool_id, **rule["tags"])
    document["defaults"]["endpoint_url"] = emulator.url
    pool_ids = [entry["id"] for entry in document["pools"]]
    requested = recorded(emulator, yaml.safe_dump(document), tmp_path, *pool_ids, *found)
    assert len(pool_ids) > 1
    allowed = granted(tmp_path)
    assert requested.keys() == {ACCOUNT}
    assert_exact(requested[ACCOUNT], allowed)
    # The permissions of the rule must not hide missing permissions for the listed pools.
    assert of(pool_ids, requested[ACCOUNT]) == of(pool_ids, allowed)


def of(pool_ids: list[str], pairs: set[Pair]) -> set[Pair]:
    return {pair for pair in pairs if pair[1].endswith(tuple(pool_ids))}


def test_policy_with_rate_share_allows_quota_requests(emulator: Emulator, tmp_path: Path) -> None:
    pool_ids = [seed_pool(emulator, "shop"), seed_pool(emulator, "shop", region="us-east-1")]
    text = configuration(emulator, *map(pool, pool_ids), rate={**FAST, "UserResourceRead": "20%"})
    requested = recorded(emulator, text, tmp_path, *pool_ids)
    assert requested == {ACCOUNT: granted(tmp_path)}
    assert {place for _, place in requested[ACCOUNT] if place.startswith("*")} == {"* in eu-west-1", "* in us-east-1"}


def test_policy_of_assumed_role_allows_exactly_its_requests(emulator: Emulator, tmp_path: Path) -> None:
    own = seed_pool(emulator, "shop")
    others = seed_pool(emulator, "bank", account_id=OTHER_ACCOUNT)
    through_role = pool(others, role_arn=ROLE, external_id="tenant-1", users={"groups": ["staff"]})
    requested = recorded(emulator, configuration(emulator, pool(own), through_role), tmp_path, own, others)
    assert requested == {ACCOUNT: granted(tmp_path), OTHER_ACCOUNT: granted(tmp_path, ROLE)}
    assert ("sts:AssumeRole", ROLE) in requested[ACCOUNT]


def test_policy_with_discovery_allows_pools_of_its_regions(emulator: Emulator, tmp_path: Path) -> None:
    named = seed_pool(emulator, "named")
    found = [seed_pool(emulator, "prod-shop"), seed_pool(emulator, "prod-bank", region="us-east-1")]
    for pool_id in found:
        emulator.tag(pool_id, team="identity")
    entry = {"regions": ["eu-west-1", "us-east-1"], "name": "^prod-", "tags": {"team": "identity"}}
    document = yaml.safe_load(configuration(emulator, pool(named))) | {"discovery": [entry]}
    requested = recorded(emulator, yaml.safe_dump(document), tmp_path, named, *found)[ACCOUNT]
    allowed = granted(tmp_path)
    looks = {("cognito-idp:ListUserPools", f"* in {region}") for region in entry["regions"]}
    assert {pair for pair in requested if pair[1].startswith("*")} == looks
    for pool_id in found:
        assert (
            "cognito-idp:ListTagsForResource",
            all_pools_of_region(pool_id).replace("/*", f"/{pool_id}"),
        ) in requested
    assert_exact(requested, allowed)


def assert_exact(requested: set[Pair], allowed: set[Pair]) -> None:
    """Assert that all requests are allowed and that each permission was used, a wildcard for at least one pool."""
    assert {pair for pair in requested if not permitted(pair, allowed)} == set()
    assert {pair for pair in allowed if not any(permitted(one, {pair}) for one in requested)} == set()


def all_pools_of_region(pool_id: str) -> str:
    """Return the resource for all pools in the Region of a pool."""
    return f"arn:aws:cognito-idp:{pool_id.partition('_')[0]}:*:userpool/*"


def permitted(pair: Pair, allowed: set[Pair]) -> bool:
    """Return True if IAM would permit the request. A star in a resource matches any text."""
    return any(action == pair[0] and fnmatchcase(pair[1], place) for action, place in allowed)


def test_iam_page_lists_every_action() -> None:
    rows = re.findall(r"^\| `((?:cognito-idp|sts):\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [permission.action for permission in PERMISSIONS.values() if permission] + [ASSUME_ROLE]


@pytest.mark.parametrize("path", sorted(TRUST.iterdir()), ids=lambda path: path.stem)
def test_trust_policy_is_valid_and_documented(path: Path) -> None:
    IAMTrustPolicyDocumentValidator(path.read_text(encoding="utf-8")).validate()
    assert f"`{path.name}`" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["trust-irsa", "trust-pod-identity"])
def test_pod_trust_policy_names_one_service_account(name: str) -> None:
    (statement,) = json.loads((TRUST / f"{name}.json").read_text(encoding="utf-8"))["Statement"]
    conditions = " ".join(f"{key}={value}" for key, value in statement["Condition"]["StringEquals"].items())
    assert "cognito-device-exporter" in conditions
    assert "monitoring" in conditions
    assert "cluster/production" in conditions or "EXAMPLED539D4633E53DE1B716D3041E:sub" in conditions


def test_cross_account_trust_policy_equals_command_output() -> None:
    document = json.loads((TRUST / "trust-cross-account.json").read_text(encoding="utf-8"))
    entry = pool("eu-west-1_AbCdEfGhI", role_arn=ROLE, external_id="an-id-of-your-own")
    settings = parse_settings(yaml.safe_dump({"pools": [entry]}), "config.yaml")
    assert trust_policy(settings, ROLE, f"arn:aws:iam::{ACCOUNT}:role/cognito-device-exporter") == document


def parsed(path: Path) -> dict[str, Any]:
    return dict(hcl2.loads(path.read_text(encoding="utf-8")))


def test_terraform_module_and_example_use_all_variables() -> None:
    text = (MODULE / "main.tf").read_text(encoding="utf-8")
    declared = {name.strip('"') for block in parsed(MODULE / "main.tf")["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    example = parsed(MODULE / "example/main.tf")["module"]
    given = {key for block in example for body in block.values() for key in body} - {"source", "providers"}
    assert {key for key in given if not key.startswith("__")} == declared


def test_terraform_example_files_exist_or_are_generated() -> None:
    text = (MODULE / "example/main.tf").read_text(encoding="utf-8")
    named = re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', text)
    printed = re.findall(r">(\S+\.json)", text)
    assert named
    assert [name for name in named if name not in printed and not (MODULE / "example" / name).is_file()] == []
