"""Signatures, compared with those of botocore."""

from __future__ import annotations

from calendar import timegm
from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from exporter.aws.lean.request_template import RequestTemplate
from exporter.aws.lean.sigv4 import Signer

URL = "https://cognito-idp.eu-west-1.amazonaws.com/"
HEADERS = {
    "X-Amz-Target": "AWSCognitoIdentityProviderService.AdminListDevices",
    "Content-Type": "application/x-amz-json-1.1",
    "User-Agent": "Boto3/1  two  spaces",
    "X-Amz-Odd": " a  header   with spaces ",
}
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


def by_botocore(url: str, body: bytes, credentials: ReadOnlyCredentials, region: str) -> tuple[str, float]:
    """Return the Authorization header, and the time that botocore used for it."""
    request = AWSRequest("POST", url, headers=HEADERS, data=body)
    SigV4Auth(credentials, "cognito-idp", region).add_auth(request)
    timestamp = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return request.headers["Authorization"], timegm(timestamp.utctimetuple())


@given(
    st.sampled_from(
        [
            URL,
            "https://cognito-idp.eu-west-1.amazonaws.com",
            "https://cognito-idp.eu-west-1.amazonaws.com:443/",
            "http://127.0.0.1:8080/",
            "http://localhost:80/",
            "http://[::1]:9229/",
            "http://Host.Example:81/some/../path with/%C3%BC/ü~",
        ]
    ),
    st.binary(min_size=1, max_size=300),
    PRINTABLE,
    PRINTABLE,
    st.none() | PRINTABLE,
    st.sampled_from(["eu-west-1", "us-gov-west-1", "aws-global"]),
)
def test_signature_equals_that_of_botocore(
    url: str, body: bytes, key: str, secret: str, token: str | None, region: str
) -> None:
    credentials = ReadOnlyCredentials(key, secret, token)
    expected, timestamp = by_botocore(url, body, credentials, region)
    headers = Signer(RequestTemplate(url, HEADERS, "cognito-idp", region)).headers(body, credentials, timestamp + 0.7)
    assert headers["authorization"] == expected
    assert headers.get("x-amz-security-token") == token


def test_signing_key_changes_with_day_and_secret() -> None:
    template = RequestTemplate(URL, HEADERS, "cognito-idp", "eu-west-1")
    signer = Signer(template)
    for secret, now in (("one", 1e9), ("two", 1e9), ("two", 1e9 + 86_400), ("one", 1e9)):
        credentials = ReadOnlyCredentials("AKIA", secret, None)
        assert signer.headers(b"{}", credentials, now) == Signer(template).headers(b"{}", credentials, now)


def test_user_agent_is_sent_unsigned() -> None:
    signer = Signer(RequestTemplate(URL, HEADERS, "cognito-idp", "eu-west-1"))
    headers = signer.headers(b"{}", ReadOnlyCredentials("AKIA", "s", None), 1e9)
    assert headers["user-agent"] == "Boto3/1 two spaces"
    assert "user-agent" not in headers["authorization"].lower()
