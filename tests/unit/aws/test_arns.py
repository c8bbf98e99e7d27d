from __future__ import annotations

import pytest

from exporter.aws.arns import account_of_arn, partition_of, pool_arn


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_pool_arn_has_the_partition_of_the_region(region: str, partition: str) -> None:
    assert partition_of(region) == partition
    assert pool_arn(region, "123456789012", "x") == f"arn:{partition}:cognito-idp:{region}:123456789012:userpool/x"


def test_pool_arn_of_an_unknown_region_has_the_default_partition() -> None:
    assert partition_of("emulator") is None
    assert pool_arn("emulator", "1", "x") == "arn:aws:cognito-idp:emulator:1:userpool/x"


@pytest.mark.parametrize(
    ("arn", "account"),
    [
        ("arn:aws:iam::123456789012:role/path/reader", "123456789012"),
        ("arn:aws:cognito-idp:eu-west-1:123456789012:userpool/x", "123456789012"),
        ("arn:aws:iam::12345:role/reader", None),
        ("arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/reader", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_account_of_arn_is_twelve_digits_or_none(arn: str, account: str | None) -> None:
    assert account_of_arn(arn) == account
