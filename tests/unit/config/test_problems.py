"""Values that error messages show, and secrets that they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.load import load_settings
from exporter.config.problems import looks_secret, shown_key, shown_path
from exporter.config.web.load import load_web_settings
from exporter.errors import ConfigError

HEX = "8f3d0ac1e5b74296" * 4
BASE64 = "q7Xv/2mPdJ+0sKzR9tYhLwEoUbNcAg4V1iGfTj5uM8k="
FOR_URLS = "q7Xv_2mPdJ-0sKzR9tYh_wEoUbNcAg4V1iGfTj5uM8k"
BCRYPT = "$2b$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
PEM = "-----BEGIN EC PRIVATE KEY-----"
ARN = "arn:aws:iam::123456789012:role/s3cret"
PASSWORD = "s3cret horse"
SECRETS = (
    *(HEX, HEX.upper(), HEX[:32], BASE64, FOR_URLS, FOR_URLS[:32], BCRYPT, BCRYPT.replace("2b", "2"), PEM, ARN),
    *("$apr1$s3cret$x", "$6$S3cret$x", "$argon2id$v=19$s3cret", "AKIAS3CRET0A1B2C3D4E", "ASIAS3CRET0A1B2C3D4E"),
)
"""Values that are never shown."""

HARMLESS = (
    *("", "deny", "eu-west-1_AbCdEfGhI", "/var/lib/exporter/state.db", "cost $10, or $2", "AKIA", "1h30m", "x" * 31),
    *("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "max-age=31536000; includeSubDomains", "$2y", "$x"),
    *(FOR_URLS[:31], "a-pool-of-a-very-long-name-eu-west-1-live", "a_pool_of_A_very_long_name_eu_west_live"),
    *("A_POOL_OF_A_VERY_LONG_NAME_EU_WEST_1_LIVE", "arn"),
)

ONE_POOL = "pools:\n  - id: eu-west-1_AbCdEfGhI\n"
IN_PLACE_OF_MAPPINGS = (
    "{}\n",
    "pools: {}\n",
    "pools: [{}]\n",
    "discovery: [{}]\n",
    "state: {}\n",
    "limits: {{rate: {}}}\n",
)
IN_PLACE_OF_LISTS = ("pools: [{{id: eu-west-1_A, stale_after: {}}}]\n", "discovery: [{{regions: {}}}]\n")
IN_PLACE_OF_SCALARS = (
    "pools: [{{id: {}}}]\n",
    "defaults: {{detail: {}}}\n" + ONE_POOL,
    "defaults: {{device_age_series: {}}}\n" + ONE_POOL,
    "defaults: {{refresh_interval: {}}}\n" + ONE_POOL,
    "discovery: [{{regions: [{}]}}]\n",
    "limits: {{series: {}}}\n" + ONE_POOL,
    "limits: {{rate: {{UserList: {}}}}}\n" + ONE_POOL,
    "state: {{path: {}/state.db}}\n" + ONE_POOL,
    "defaults: {{identity_key_file: {}}}\n" + ONE_POOL,
    "defaults: {{device_attributes: [{0}, {0}]}}\n" + ONE_POOL,
)
WEB_IN_PLACE_OF_MAPPINGS = (
    "{}\n",
    "tls_server_config: {}\n",
    "http_server_config: {}\n",
    "http_server_config: {{headers: {}}}\n",
    "basic_auth_users: {}\n",
    "rate_limit: {}\n",
    "tls_server_config: {{cipher_suites: {}}}\n",
    "tls_server_config: {{client_allowed_sans: {}}}\n",
)
WEB_IN_PLACE_OF_SCALARS = (
    "http_server_config: {{http2: {}}}\n",
    "http_server_config: {{headers: {{X-Frame-Options: {}}}}}\n",
    "http_server_config: {{headers: {{X-XSS-Protection: [{}]}}}}\n",
    "rate_limit: {{interval: {}, burst: 1}}\n",
    "rate_limit: {{interval: 1s, burst: {}}}\n",
    "tls_server_config: {{cipher_suites: [{}]}}\n",
    "tls_server_config: {{min_version: {}}}\n",
    "tls_server_config: {{cert_file: {}, key_file: x}}\n",
)


def message_of(directory: Path, text: str, *, web: bool) -> str:
    path = directory / "file.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        (load_web_settings if web else load_settings)(path)
    return str(caught.value)


def assert_hidden(message: str, secret: str) -> None:
    """No eight characters of it in a row."""
    assert not [
        secret[start : start + 8] for start in range(len(secret) - 7) if secret[start : start + 8] in message
    ], message


@pytest.mark.parametrize("secret", SECRETS)
def test_secret_is_recognized(secret: str) -> None:
    assert looks_secret(secret)
    assert looks_secret(f"alice:{secret} ")


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_not_a_secret(text: str) -> None:
    assert not looks_secret(text)


def test_path_with_a_secret_name_is_not_shown() -> None:
    long = Path("/var/lib/prometheus/exporters/of/cognito/devices/state")
    assert shown_path(long) == str(long)
    assert shown_path(Path("/etc") / HEX / "state.db") == "a path that is not shown here"


def test_key_that_looks_like_a_secret_is_not_shown() -> None:
    assert [shown_key(name) for name in ("X-Frame-Options", "a" + HEX[:31], "a" + HEX[:30])] == [
        "X-Frame-Options",
        "?",
        "a" + HEX[:30],
    ]


@pytest.mark.parametrize("secret", [PASSWORD, "alice.s3cret", f"prom:{BCRYPT}", HEX, BASE64, "7" * 64, "0x" + HEX])
@pytest.mark.parametrize("text", [*IN_PLACE_OF_MAPPINGS, *IN_PLACE_OF_LISTS])
def test_scalar_in_place_of_a_collection_is_not_shown(tmp_path: Path, text: str, secret: str) -> None:
    message = message_of(tmp_path, text.format(secret), web=False)
    assert "wrong type, expected " in message
    assert " that is not shown here)" in message
    assert_hidden(message, secret)


@pytest.mark.parametrize("key", ["external_id", "endpoint_url", "role_arn", "users", "usernames", "filter"])
def test_text_with_a_secret_key_in_it_is_not_shown(tmp_path: Path, key: str) -> None:
    message = message_of(tmp_path, f"pools: [{{id: eu-west-1_A, detail: '{key}: hunter2'}}]\n", web=False)
    assert message.endswith(" (found text that is not shown here)")


@pytest.mark.parametrize("secret", [PASSWORD, "alice.s3cret", f"prom:{BCRYPT}", HEX, BASE64])
@pytest.mark.parametrize("text", WEB_IN_PLACE_OF_MAPPINGS)
def test_web_scalar_in_place_of_a_collection_is_not_shown(tmp_path: Path, text: str, secret: str) -> None:
    message = message_of(tmp_path, text.format(secret), web=True)
    assert message.endswith(" (found text that is not shown here)")
    assert_hidden(message, secret)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("text", IN_PLACE_OF_SCALARS)
def test_secret_is_not_shown_under_any_key(tmp_path: Path, text: str, secret: str) -> None:
    assert_hidden(message_of(tmp_path, text.format(f'"{secret}"'), web=False), secret)


def test_label_of_a_secret_attribute_is_not_shown(tmp_path: Path) -> None:
    message = message_of(tmp_path, f"defaults: {{device_attributes: [{HEX}, {HEX}]}}\n{ONE_POOL}", web=False)
    assert "device_attributes: duplicate label ?, " in message


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("text", WEB_IN_PLACE_OF_SCALARS)
def test_web_secret_is_not_shown_under_any_key(tmp_path: Path, text: str, secret: str) -> None:
    assert_hidden(message_of(tmp_path, text.format(f'"{secret}"'), web=True), secret)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: !s3cret!x y\n", "1:4"), ("%TAG !s3cret! a\n%TAG !s3cret! b\n--- a\n", "2:1"), ("!s3cret!x\n", "1:1")],
)
def test_handle_of_a_tag_is_not_shown(tmp_path: Path, text: str, place: str) -> None:
    """Text between two exclamation marks, as in some passwords."""
    message = message_of(tmp_path, text, web=False)
    assert message == f"{tmp_path / 'file.yml'}:{place}: a tag, expected plain values"


def test_other_invalid_values_are_shown(tmp_path: Path) -> None:
    text = "pools: [{id: nowhere, detail: devices, skip_federated_users: 1, refresh_interval: true}]\n"
    assert {problem.rpartition(" (found ")[2] for problem in message_of(tmp_path, text, web=False).splitlines()} == {
        *('"nowhere")', "the boolean true)", '"devices")', "the number 1)")
    }
    suite = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"
    message = message_of(tmp_path, f"tls_server_config: {{cipher_suites: [{suite}]}}\n", web=True)
    assert f'(found "{suite}")' in message
    assert "(found a list)" in message_of(tmp_path, "- a\n", web=True)
    assert "(found a mapping)" in message_of(tmp_path, "pools: {a: b}\n", web=False)
    assert "(found nothing)" in message_of(tmp_path, "pools: [null]\n", web=False)
