"""`iam-policy`: printed documents and notes."""

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
    """Result of one run of the command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def statements(self) -> list[dict[str, Any]]:
        """Statements of the policy, which is valid in the grammar of IAM."""
        assert self.code == 0, self.err
        IAMPolicyDocumentValidator(self.out).validate()
        return list(json.loads(self.out)["Statement"])


def usage_error(message: str) -> str:
    return f"cognito-device-exporter: error: {message}, try 'cognito-device-exporter iam-policy --help'\n"


@pytest.fixture
def print_policy(tmp_path: Path, capsys: Capture) -> Any:
    def run(pools: list[dict[str, Any]], *flags: str, **extra: Any) -> Printed:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"pools": pools, **extra}), encoding="utf-8")
        code = main(["iam-policy", "--config.file", str(path), *flags])
        out, err = capsys.readouterr()
        return Printed(code, out, err)

    return run


def pool(pool_id: str = "eu-west-1_AbCdEfGhI", **extra: Any) -> dict[str, Any]:
    return {"id": pool_id, **extra}


def arn(pool_id: str, account: str = "*", partition: str = "aws") -> str:
    return f"arn:{partition}:cognito-idp:{pool_id.partition('_')[0]}:{account}:userpool/{pool_id}"


def test_permissions_cover_every_operation() -> None:
    assert PERMISSIONS.keys() == set(Operation)


def test_actions_are_aws_operations() -> None:
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
def test_user_selection_decides_the_listing_permission(
    print_policy: Any, users: dict[str, Any] | None, actions: list[str]
) -> None:
    printed = print_policy([pool() | ({"users": users} if users else {})])
    assert printed.statements == [{"Effect": "Allow", "Action": actions, "Resource": [arn("eu-west-1_AbCdEfGhI")]}]
    assert printed.err == ""


def test_pools_with_equal_actions_share_a_statement(print_policy: Any) -> None:
    pools = [pool("eu-west-1_A1"), pool("eu-west-1_B1", users={"usernames": ["alice"]}), pool("us-east-1_C1")]
    assert print_policy(pools).statements == [
        {"Effect": "Allow", "Action": EVERYONE, "Resource": [arn("eu-west-1_A1"), arn("us-east-1_C1")]},
        {"Effect": "Allow", "Action": NAMED, "Resource": [arn("eu-west-1_B1")]},
    ]


@pytest.mark.parametrize(
    ("pool_id", "partition"),
    [("cn-north-1_A1", "aws-cn"), ("us-gov-west-1_A1", "aws-us-gov"), ("eusc-de-east-1_A1", "aws-eusc")],
)
def test_region_of_another_partition_has_its_arns(print_policy: Any, pool_id: str, partition: str) -> None:
    (statement,) = print_policy([pool(pool_id)]).statements
    assert statement["Resource"] == [arn(pool_id, partition=partition)]


def test_region_of_no_partition_is_rejected(print_policy: Any) -> None:
    printed = print_policy([pool("xx-nowhere-1_A1")])
    assert (printed.code, printed.out) == (2, "")
    assert printed.err == "no partition of AWS has the Region xx-nowhere-1, expected one such as eu-west-1\n"


def test_share_of_a_quota_allows_reading_it_by_region(print_policy: Any) -> None:
    pools = [pool("eu-west-1_A1"), pool("us-east-1_C1")]
    statements = print_policy(pools, limits={"rate": {"UserResourceRead": "20%"}}).statements
    assert statements[1:] == [
        {
            "Effect": "Allow",
            "Action": ["cognito-idp:GetProvisionedLimit"],
            "Resource": ["*"],
            "Condition": {"StringEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}},
        }
    ]


def test_exporter_policy_allows_assuming_the_roles_only(print_policy: Any) -> None:
    printed = print_policy(
        [pool("eu-west-1_A1"), pool("eu-west-1_B1", role_arn=ROLE), pool("eu-west-1_C1", role_arn=ROLE)]
    )
    assert printed.statements == [
        {"Effect": "Allow", "Action": EVERYONE, "Resource": [arn("eu-west-1_A1")]},
        {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": [ROLE]},
    ]
    assert printed.err == f"{ROLE} requires its own policy: --role {ROLE}\n"


def test_role_policy_has_the_pools_of_the_role(print_policy: Any) -> None:
    printed = print_policy([pool("eu-west-1_A1"), pool("eu-west-1_B1", role_arn=ROLE)], "--role", ROLE)
    assert printed.statements == [
        {"Effect": "Allow", "Action": EVERYONE, "Resource": [arn("eu-west-1_B1", "210987654321")]}
    ]
    assert printed.err == ""


@pytest.mark.parametrize(
    ("pools", "text"),
    [
        ([pool()], "which has no role_arn"),
        ([pool(role_arn=ROLE)], f"expected one of {ROLE}"),
    ],
)
def test_unknown_role_is_rejected(print_policy: Any, pools: list[dict[str, Any]], text: str) -> None:
    for flags in ((), ("--trust", PRINCIPAL)):
        printed = print_policy(pools, "--role", PRINCIPAL, *flags)
        assert (printed.code, printed.out) == (2, "")
        assert printed.err == usage_error(f"--role {PRINCIPAL}: not in the configuration, {text}")


def trusted(printed: Printed) -> dict[str, Any]:
    assert printed.code == 0, printed.err
    IAMTrustPolicyDocumentValidator(printed.out).validate()
    (statement,) = json.loads(printed.out)["Statement"]
    return dict(statement)


def test_trust_policy_requires_the_external_id(print_policy: Any) -> None:
    pools = [pool("eu-west-1_A1", role_arn=ROLE, external_id="tenant-1")]
    assert trusted(print_policy(pools, "--role", ROLE, "--trust", PRINCIPAL)) == {
        "Effect": "Allow",
        "Principal": {"AWS": PRINCIPAL},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": ["tenant-1"]}},
    }


def test_trust_policy_omits_an_external_id_not_always_sent(print_policy: Any) -> None:
    pools = [pool("eu-west-1_A1", role_arn=ROLE, external_id="tenant-1"), pool("eu-west-1_B1", role_arn=ROLE)]
    assert "Condition" not in trusted(print_policy(pools, "--role", ROLE, "--trust", PRINCIPAL))


def test_trust_policy_requires_a_role(print_policy: Any) -> None:
    printed = print_policy([pool(role_arn=ROLE)], "--trust", PRINCIPAL)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err == usage_error("--trust requires --role")


@pytest.mark.parametrize("principal", ["*", "123456789012", "arn:aws:iam::123456789012:role/", "arn:aws:s3:::bucket"])
def test_trust_policy_rejects_an_invalid_principal(print_policy: Any, principal: str) -> None:
    printed = print_policy([pool(role_arn=ROLE)], "--role", ROLE, "--trust", principal)
    assert (printed.code, printed.out) == (2, "")
    assert f"{principal} is not a valid principal, expected the ARN of a role, a user or an account" in printed.err


def characters(text: str) -> int:
    return len("".join(text.split()))


def test_long_policy_is_split_into_parts(print_policy: Any) -> None:
    pools = [pool(f"eu-west-1_Pool{number:05}") for number in range(250)]
    printed = print_policy(pools)
    assert (printed.code, printed.out) == (2, "")
    assert "exceeds the IAM limit of 6,144 characters" in printed.err
    assert "its 3 parts" in printed.err
    parts = [print_policy(pools, "--part", str(number)) for number in (1, 2, 3)]
    assert all(characters(part.out) <= MAX_CHARACTERS for part in parts)
    granted = [resource for part in parts for (statement,) in [part.statements] for resource in statement["Resource"]]
    assert granted == [arn(entry["id"]) for entry in pools]
    beyond = print_policy(pools, "--part", "4")
    assert (beyond.code, beyond.err) == (2, usage_error("--part 4: the policy has 3 parts"))


def test_short_policy_has_one_part(print_policy: Any) -> None:
    assert print_policy([pool()], "--part", "1").statements == print_policy([pool()]).statements
    assert print_policy([pool()], "--part", "2").code == 2
    assert print_policy([pool()], "--part", "0").code == 2
