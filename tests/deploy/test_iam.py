"""The generated policies against what the exporter really asks: recorded at the server, compared pair by pair."""

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
FREE = {"GetCallerIdentity"}
"""What AWS lets every principal ask."""

Pair = tuple[str, str]
"""An action and the resource on which it is allowed, or was asked."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def seeded(emulator: Emulator, name: str, **further: Any) -> str:
    """A pool with three users, one of them in the group staff."""
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
        if "%" in text:  # quotas are read beside the sweep
            asked = "GetProvisionedLimit"
            assert eventually(lambda: any(request.operation == asked for request in emulator.requests()))
    found: dict[str, set[Pair]] = {}
    for request in emulator.requests():
        assert request.code == "OK", request
        if request.operation in FREE:
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


def test_the_policy_allows_what_the_exporter_asks_of_each_pool_and_nothing_else(
    emulator: Emulator, tmp_path: Path
) -> None:
    entries = [
        pool(seeded(emulator, "everyone")),
        pool(seeded(emulator, "filter"), users={"filter": 'status = "Enabled"'}),
        pool(seeded(emulator, "usernames"), users={"usernames": ["alice", "bob"]}),
        pool(seeded(emulator, "groups"), users={"groups": ["staff"]}),
    ]
    pool_ids = [entry["id"] for entry in entries]
    asked = recorded(emulator, configuration(emulator, *entries), tmp_path, *pool_ids)
    assert asked == {ACCOUNT: granted(tmp_path)}
    assert asked[ACCOUNT] >= {
        (f"cognito-idp:{operation}", f"arn:aws:cognito-idp:eu-west-1:*:userpool/{pool_id}")
        for pool_id in pool_ids
        for operation in ("DescribeUserPool", "AdminListDevices")
    }


def test_the_policy_for_the_example_configuration_allows_what_the_exporter_asks_for_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    document = yaml.safe_load((ROOT / "config.example.yaml").read_text(encoding="utf-8"))
    for number, entry in enumerate(document["pools"]):
        entry["id"] = seeded(emulator, f"pool {number}")
    (rule,) = document["discovery"]
    found = [seeded(emulator, "prod-shop", region=region) for region in rule["regions"]]
    for pool_id in found:
        emulator.tag(pool_id, **rule["tags"])
    document["defaults"]["endpoint_url"] = emulator.url
    pool_ids = [entry["id"] for entry in document["pools"]]
    asked = recorded(emulator, yaml.safe_dump(document), tmp_path, *pool_ids, *found)
    assert len(pool_ids) > 1
    allowed = granted(tmp_path)
    assert asked.keys() == {ACCOUNT}
    assert_exact(asked[ACCOUNT], allowed)
    # What a rule may read hides nothing that lacks for the pools that have a name.
    assert of(pool_ids, asked[ACCOUNT]) == of(pool_ids, allowed)


def of(pool_ids: list[str], pairs: set[Pair]) -> set[Pair]:
    return {pair for pair in pairs if pair[1].endswith(tuple(pool_ids))}


def test_a_rate_that_is_a_share_asks_for_quotas_in_each_region(emulator: Emulator, tmp_path: Path) -> None:
    pool_ids = [seeded(emulator, "shop"), seeded(emulator, "shop", region="us-east-1")]
    text = configuration(emulator, *map(pool, pool_ids), rate={**FAST, "UserResourceRead": "20%"})
    asked = recorded(emulator, text, tmp_path, *pool_ids)
    assert asked == {ACCOUNT: granted(tmp_path)}
    assert {place for _, place in asked[ACCOUNT] if place.startswith("*")} == {"* in eu-west-1", "* in us-east-1"}


def test_a_role_is_allowed_what_is_asked_through_it_and_the_exporter_to_assume_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    own = seeded(emulator, "shop")
    others = seeded(emulator, "bank", account_id=OTHER_ACCOUNT)
    through_role = pool(others, role_arn=ROLE, external_id="tenant-1", users={"groups": ["staff"]})
    asked = recorded(emulator, configuration(emulator, pool(own), through_role), tmp_path, own, others)
    assert asked == {ACCOUNT: granted(tmp_path), OTHER_ACCOUNT: granted(tmp_path, ROLE)}
    assert ("sts:AssumeRole", ROLE) in asked[ACCOUNT]


def test_a_rule_is_allowed_to_look_and_to_read_what_it_may_find_in_its_regions(
    emulator: Emulator, tmp_path: Path
) -> None:
    named = seeded(emulator, "named")
    found = [seeded(emulator, "prod-shop"), seeded(emulator, "prod-bank", region="us-east-1")]
    for pool_id in found:
        emulator.tag(pool_id, team="identity")
    entry = {"regions": ["eu-west-1", "us-east-1"], "name": "^prod-", "tags": {"team": "identity"}}
    document = yaml.safe_load(configuration(emulator, pool(named))) | {"discovery": [entry]}
    asked = recorded(emulator, yaml.safe_dump(document), tmp_path, named, *found)[ACCOUNT]
    allowed = granted(tmp_path)
    looks = {("cognito-idp:ListUserPools", f"* in {region}") for region in entry["regions"]}
    assert {pair for pair in asked if pair[1].startswith("*")} == looks
    for pool_id in found:
        assert ("cognito-idp:ListTagsForResource", any_of(pool_id).replace("/*", f"/{pool_id}")) in asked
    assert_exact(asked, allowed)


def assert_exact(asked: set[Pair], allowed: set[Pair]) -> None:
    """All that was asked is allowed, and all that is allowed was asked: what stands for any pool, of one at least."""
    assert {pair for pair in asked if not permitted(pair, allowed)} == set()
    assert {pair for pair in allowed if not any(permitted(one, {pair}) for one in asked)} == set()


def any_of(pool_id: str) -> str:
    """What stands for all pools of the Region of one."""
    return f"arn:aws:cognito-idp:{pool_id.partition('_')[0]}:*:userpool/*"


def permitted(pair: Pair, allowed: set[Pair]) -> bool:
    """Whether IAM would permit it: a star in a resource stands for any text."""
    return any(action == pair[0] and fnmatchcase(pair[1], place) for action, place in allowed)


def test_the_documentation_lists_every_action() -> None:
    rows = re.findall(r"^\| `((?:cognito-idp|sts):\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [permission.action for permission in PERMISSIONS.values() if permission] + [ASSUME_ROLE]


@pytest.mark.parametrize("path", sorted(TRUST.iterdir()), ids=lambda path: path.stem)
def test_iam_takes_each_trust_policy_and_it_is_explained(path: Path) -> None:
    IAMTrustPolicyDocumentValidator(path.read_text(encoding="utf-8")).validate()
    assert f"`{path.name}`" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["trust-irsa", "trust-pod-identity"])
def test_a_pods_role_is_for_one_service_account_of_one_cluster(name: str) -> None:
    (statement,) = json.loads((TRUST / f"{name}.json").read_text(encoding="utf-8"))["Statement"]
    conditions = " ".join(f"{key}={value}" for key, value in statement["Condition"]["StringEquals"].items())
    assert "cognito-device-exporter" in conditions
    assert "monitoring" in conditions
    assert "cluster/production" in conditions or "EXAMPLED539D4633E53DE1B716D3041E:sub" in conditions


def test_the_trust_policy_across_accounts_is_as_the_command_prints_it() -> None:
    document = json.loads((TRUST / "trust-cross-account.json").read_text(encoding="utf-8"))
    entry = pool("eu-west-1_AbCdEfGhI", role_arn=ROLE, external_id="an-id-of-your-own")
    settings = parse_settings(yaml.safe_dump({"pools": [entry]}), "config.yaml")
    assert trust_policy(settings, ROLE, f"arn:aws:iam::{ACCOUNT}:role/cognito-device-exporter") == document


def parsed(path: Path) -> dict[str, Any]:
    return dict(hcl2.loads(path.read_text(encoding="utf-8")))


def test_the_terraform_module_uses_what_it_declares_and_the_example_what_the_module_declares() -> None:
    text = (MODULE / "main.tf").read_text(encoding="utf-8")
    declared = {name.strip('"') for block in parsed(MODULE / "main.tf")["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    example = parsed(MODULE / "example/main.tf")["module"]
    given = {key for block in example for body in block.values() for key in body} - {"source", "providers"}
    assert {key for key in given if not key.startswith("__")} == declared


def test_files_that_the_terraform_example_names_are_there_or_printed_by_its_commands() -> None:
    text = (MODULE / "example/main.tf").read_text(encoding="utf-8")
    named = re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', text)
    printed = re.findall(r">(\S+\.json)", text)
    assert named
    assert [name for name in named if name not in printed and not (MODULE / "example" / name).is_file()] == []
