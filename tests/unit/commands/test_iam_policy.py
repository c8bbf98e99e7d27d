"""`iam-policy`: which document it prints, for whom, and what it says beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session
from moto.iam.policy_validation import IAMPolicyDocumentValidator, IAMTrustPolicyDocumentValidator

from exporter.aws.api import Operation
from exporter.aws.permissions import PERMISSIONS
from exporter.cli import main
from exporter.commands.iam_policy import MAX_CHARACTERS

ROLE = "arn:aws:iam::210987654321:role/device-exporter"
PRINCIPAL = "arn:aws:iam::123456789012:role/exporter"
EVERYONE = ["cognito-idp:DescribeUserPool", "cognito-idp:ListUsers", "cognito-idp:AdminListDevices"]
NAMED = ["cognito-idp:DescribeUserPool", "cognito-idp:AdminListDevices"]

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("restored_logging")


class Printed:
    """What one run of the command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def statements(self) -> list[dict[str, Any]]:
        """Those of a policy, which IAM's grammar allows."""
        assert self.code == 0, self.err
        IAMPolicyDocumentValidator(self.out).validate()
        return list(json.loads(self.out)["Statement"])


@pytest.fixture
def ask(tmp_path: Path, capsys: Capture) -> Any:
    def run(pools: list[dict[str, Any]], *flags: str, **further: Any) -> Printed:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"pools": pools, **further}), encoding="utf-8")
        code = main(["iam-policy", "--config.file", str(path), *flags])
        out, err = capsys.readouterr()
        return Printed(code, out, err)

    return run


def pool(pool_id: str = "eu-west-1_AbCdEfGhI", **further: Any) -> dict[str, Any]:
    return {"id": pool_id, **further}


def arn(pool_id: str, account: str = "*", partition: str = "aws") -> str:
    return f"arn:{partition}:cognito-idp:{pool_id.partition('_')[0]}:{account}:userpool/{pool_id}"


def test_every_operation_has_its_row() -> None:
    assert PERMISSIONS.keys() == set(Operation)


def test_every_action_is_an_operation_that_aws_has() -> None:
    operations = get_session().get_service_model("cognito-idp").operation_names
    actions = {permission.action.removeprefix("cognito-idp:") for permission in PERMISSIONS.values() if permission}
    assert actions <= set(operations)


@pytest.mark.parametrize(
    ("users", "actions"),
    [
        (None, EVERYONE),
        ({"filter": 'status = "Enabled"'}, EVERYONE),
        ({"usernames": ["alice"]}, NAMED),
        ({"groups": ["staff"]}, [NAMED[0], "cognito-idp:ListUsersInGroup", NAMED[1]]),
    ],
)
def test_a_selection_of_users_decides_which_listing_is_allowed(
    ask: Any, users: dict[str, Any] | None, actions: list[str]
) -> None:
    printed = ask([pool() | ({"users": users} if users else {})])
    assert printed.statements == [{"Effect": "Allow", "Action": actions, "Resource": [arn("eu-west-1_AbCdEfGhI")]}]
    assert printed.err == ""


def test_pools_that_are_read_alike_share_a_statement(ask: Any) -> None:
    pools = [pool("eu-west-1_A1"), pool("eu-west-1_B1", users={"usernames": ["alice"]}), pool("us-east-1_C1")]
    assert ask(pools).statements == [
        {"Effect": "Allow", "Action": EVERYONE, "Resource": [arn("eu-west-1_A1"), arn("us-east-1_C1")]},
        {"Effect": "Allow", "Action": NAMED, "Resource": [arn("eu-west-1_B1")]},
    ]


@pytest.mark.parametrize(
    ("pool_id", "partition"),
    [("cn-north-1_A1", "aws-cn"), ("us-gov-west-1_A1", "aws-us-gov"), ("eusc-de-east-1_A1", "aws-eusc")],
)
def test_a_region_outside_the_standard_partition_has_arns_of_its_own(ask: Any, pool_id: str, partition: str) -> None:
    (statement,) = ask([pool(pool_id)]).statements
    assert statement["Resource"] == [arn(pool_id, partition=partition)]


def test_a_region_of_no_partition_is_told(ask: Any) -> None:
    printed = ask([pool("xx-nowhere-1_A1")])
    assert (printed.code, printed.out) == (2, "")
    assert printed.err == "no partition of AWS has the Region xx-nowhere-1, expected one such as eu-west-1\n"


def test_a_rate_that_is_a_share_reads_quotas_in_the_regions_of_the_pools(ask: Any) -> None:
    pools = [pool("eu-west-1_A1"), pool("us-east-1_C1")]
    statements = ask(pools, limits={"rate": {"UserResourceRead": "20%"}}).statements
    assert statements[1:] == [
        {
            "Effect": "Allow",
            "Action": ["cognito-idp:GetProvisionedLimit"],
            "Resource": ["*"],
            "Condition": {"StringEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}},
        }
    ]


def test_the_exporter_may_assume_its_roles_and_reads_nothing_of_theirs(ask: Any) -> None:
    printed = ask([pool("eu-west-1_A1"), pool("eu-west-1_B1", role_arn=ROLE), pool("eu-west-1_C1", role_arn=ROLE)])
    assert printed.statements == [
        {"Effect": "Allow", "Action": EVERYONE, "Resource": [arn("eu-west-1_A1")]},
        {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": [ROLE]},
    ]
    assert printed.err == f"{ROLE} needs a policy of its own: --role {ROLE}\n"


def test_a_role_gets_the_pools_that_are_read_through_it_in_its_account(ask: Any) -> None:
    printed = ask([pool("eu-west-1_A1"), pool("eu-west-1_B1", role_arn=ROLE)], "--role", ROLE)
    assert printed.statements == [
        {"Effect": "Allow", "Action": EVERYONE, "Resource": [arn("eu-west-1_B1", "210987654321")]}
    ]
    assert printed.err == ""


@pytest.mark.parametrize(
    ("pools", "text"),
    [
        ([pool()], "it has no role_arn at all"),
        ([pool(role_arn=ROLE)], f"expected one of {ROLE}"),
    ],
)
def test_a_role_that_is_not_in_the_configuration_is_refused(ask: Any, pools: list[dict[str, Any]], text: str) -> None:
    for flags in ((), ("--trust", PRINCIPAL)):
        printed = ask(pools, "--role", PRINCIPAL, *flags)
        assert (printed.code, printed.out) == (2, "")
        assert printed.err == f"the configuration does not assume {PRINCIPAL}, {text}\n"


def trusted(printed: Printed) -> dict[str, Any]:
    assert printed.code == 0, printed.err
    IAMTrustPolicyDocumentValidator(printed.out).validate()
    (statement,) = json.loads(printed.out)["Statement"]
    return dict(statement)


def test_a_trust_policy_asks_for_the_external_id(ask: Any) -> None:
    pools = [pool("eu-west-1_A1", role_arn=ROLE, external_id="tenant-1")]
    assert trusted(ask(pools, "--role", ROLE, "--trust", PRINCIPAL)) == {
        "Effect": "Allow",
        "Principal": {"AWS": PRINCIPAL},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": ["tenant-1"]}},
    }


def test_a_trust_policy_asks_for_no_external_id_that_the_exporter_does_not_always_send(ask: Any) -> None:
    pools = [pool("eu-west-1_A1", role_arn=ROLE, external_id="tenant-1"), pool("eu-west-1_B1", role_arn=ROLE)]
    assert "Condition" not in trusted(ask(pools, "--role", ROLE, "--trust", PRINCIPAL))


def test_a_trust_policy_needs_a_role(ask: Any) -> None:
    printed = ask([pool(role_arn=ROLE)], "--trust", PRINCIPAL)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err == "--trust: whose trust policy? expected --role beside it\n"


@pytest.mark.parametrize("principal", ["*", "123456789012", "arn:aws:iam::123456789012:role/", "arn:aws:s3:::bucket"])
def test_a_trust_policy_names_one_principal(ask: Any, principal: str) -> None:
    printed = ask([pool(role_arn=ROLE)], "--role", ROLE, "--trust", principal)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith(f"{principal} is no principal, expected the ARN of a role, a user or an account")


def characters(text: str) -> int:
    return len("".join(text.split()))


def test_a_policy_longer_than_iam_allows_comes_in_parts(ask: Any) -> None:
    pools = [pool(f"eu-west-1_Pool{number:05}") for number in range(250)]
    printed = ask(pools)
    assert (printed.code, printed.out) == (2, "")
    assert "longer than the 6,144 characters" in printed.err
    assert "its 3 parts" in printed.err
    parts = [ask(pools, "--part", str(number)) for number in (1, 2, 3)]
    assert all(characters(part.out) <= MAX_CHARACTERS for part in parts)
    granted = [resource for part in parts for (statement,) in [part.statements] for resource in statement["Resource"]]
    assert granted == [arn(entry["id"]) for entry in pools]
    beyond = ask(pools, "--part", "4")
    assert (beyond.code, beyond.err) == (2, "--part 4: the policy ends with part 3\n")


def test_a_short_policy_has_one_part(ask: Any) -> None:
    assert ask([pool()], "--part", "1").statements == ask([pool()]).statements
    assert ask([pool()], "--part", "2").code == 2
    assert ask([pool()], "--part", "0").code == 2
