"""AWS whose responses and errors are full of canaries: names, addresses and ARNs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.acceptance.privacy import canaries as c

REGION = "eu-west-1"
GOOD = f"{REGION}_Good00001"
DENIED = f"{REGION}_Denied001"
BROKEN_DOWN = f"{REGION}_Down00001"
CUT_OFF = f"{REGION}_CutOff001"
WRONG_TYPES = f"{REGION}_Types0001"
ODD_CODES = f"{REGION}_Codes0001"
NO_LISTING = f"{REGION}_NoList001"
ASSUMED = f"{REGION}_Assumed01"
CHOSEN = f"{REGION}_Chosen001"
IN_GROUP = f"{REGION}_Group0001"
BEYOND = f"{REGION}_Beyond001"

MESSAGE = f"User: {c.CALLER_ARN} with {c.ACCESS_KEY} is not authorized on {c.NAME}, {c.EMAIL}, {c.IP}; {c.AWS_MESSAGE}"

Answer = tuple[int, bytes]


@dataclass
class HostileAws:
    """URL of the server, and its requests."""

    url: str = ""
    role_works: bool = False
    asked: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of pool id and operation."""

    def answer(self, target: str, body: bytes) -> Answer:
        if not target:
            return self._sts(parse_qs(body.decode())["Action"][0])
        operation = target.rpartition(".")[2]
        wanted = json.loads(body)
        pool_id = wanted.get("UserPoolId", "")
        self.asked.add((operation, pool_id))
        return _TROUBLE.get(pool_id, _well)(operation, pool_id)

    def _sts(self, action: str) -> Answer:
        self.asked.add((action, ""))
        if action == "AssumeRole" and self.role_works:
            return 200, _ASSUMED_ROLE.encode()
        return 403, _sts_error().encode()


def _well(operation: str, pool_id: str) -> Answer:
    return 200, json.dumps(_content(operation, pool_id)).encode()


def _content(operation: str, pool_id: str) -> dict[str, Any]:
    if operation == "DescribeUserPool":
        arn = f"arn:aws:cognito-idp:{REGION}:123456789012:userpool/{pool_id}"
        tracking = {"ChallengeRequiredOnNewDevice": True, "DeviceOnlyRememberedOnUserPrompt": True}
        return {"UserPool": {"Name": "shop", "Arn": arn, "MfaConfiguration": "ON", "DeviceConfiguration": tracking}}
    if operation in {"ListUsers", "ListUsersInGroup"}:
        return {"Users": [_user(name) for name in (c.NAME, c.SECOND_NAME, c.EMAIL)]}
    if operation == "AdminListDevices":
        return {"Devices": [_device(pool_id)]}
    return {}


def _user(name: str) -> dict[str, Any]:
    attributes = [{"Name": "sub", "Value": c.SUB}, {"Name": "email", "Value": c.EMAIL}]
    return {"Username": name, "Attributes": attributes, "UserStatus": "CONFIRMED", "Enabled": True}


def _device(pool_id: str) -> dict[str, Any]:
    attributes = {
        "device_status": "valid",
        "device_name": c.DEVICE_NAME,
        "dev:device_arn": f"{c.CALLER_ARN}/{c.NAME}.{pool_id}/device",
        "dev:device_owner": f"{c.NAME}.{pool_id}",
        "last_ip_used": c.IP,
        "dev:device_remembered_status": "remembered",
    }
    pairs = [{"Name": name, "Value": value} for name, value in attributes.items()]
    return {"DeviceKey": f"{pool_id}-device", "DeviceAttributes": pairs, "DeviceCreateDate": 1_700_000_000}


def _refusal(code: str, status: int) -> Answer:
    content = {"__type": code, "message": MESSAGE, "Message": MESSAGE, c.NAME: c.EMAIL}
    return status, json.dumps(content).encode()


def _wrong_types(operation: str, pool_id: str) -> Answer:
    content = _content(operation, pool_id)
    if operation == "AdminListDevices":
        content["Devices"][0]["DeviceCreateDate"] = c.NAME
        content["Devices"][0]["DeviceKey"] = {c.EMAIL: c.IP}
    return 200, json.dumps(content).encode()


def _except_for_devices(answer: Answer) -> Callable[[str, str], Answer]:
    return lambda operation, pool_id: answer if operation == "AdminListDevices" else _well(operation, pool_id)


def _except_for_users(answer: Answer) -> Callable[[str, str], Answer]:
    return lambda operation, pool_id: answer if operation.startswith("ListUsers") else _well(operation, pool_id)


_TROUBLE: dict[str, Callable[[str, str], Answer]] = {
    DENIED: lambda *_: _refusal("AccessDeniedException", 400),
    BROKEN_DOWN: _except_for_devices(_refusal("InternalErrorException", 500)),
    CUT_OFF: _except_for_devices((200, f'{{"Devices": [{{"DeviceKey": "{c.NAME} {c.IP}'.encode())),
    WRONG_TYPES: _wrong_types,
    ODD_CODES: _except_for_devices(_refusal(f"{c.EMAIL} {c.CALLER_ARN}", 400)),
    NO_LISTING: _except_for_users(_refusal("InvalidParameterException", 400)),
}


def _sts_error() -> str:
    return (
        "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
        f"<Message>{MESSAGE} sts:AssumeRole on {c.ROLE_ARN} with {c.EXTERNAL_ID}</Message></Error></ErrorResponse>"
    )


_ASSUMED_ROLE = (
    "<AssumeRoleResponse><AssumeRoleResult>"
    f"<AssumedRoleUser><AssumedRoleId>A:{c.ROLE}</AssumedRoleId><Arn>{c.ROLE_ARN}</Arn></AssumedRoleUser>"
    f"<Credentials><AccessKeyId>{c.ROLE_ACCESS_KEY}</AccessKeyId><SecretAccessKey>{c.ROLE_SECRET_KEY}</SecretAccessKey>"
    f"<SessionToken>{c.ROLE_TOKEN}</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
    "</AssumeRoleResult></AssumeRoleResponse>"
)


@contextmanager
def hostile_aws() -> Iterator[HostileAws]:
    """Run the server on loopback."""
    aws = HostileAws()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content = aws.answer(self.headers.get("X-Amz-Target", ""), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-amzn-RequestId", c.AWS_MESSAGE)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    aws.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
