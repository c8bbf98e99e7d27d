"""`iam-policy`: the least privilege that a configuration needs, as documents that IAM takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.aws.permissions import ASSUME_ROLE, Grant, Use, grants_of, rule_uses, uses
from exporter.config.settings import Settings

Document = dict[str, Any]

MAX_CHARACTERS = 6144
"""Of a managed policy, white space not counted; all inline policies of a role together may have 10,240."""

VERSION = "2012-10-17"
"""Of the language that policies are written in; there is no later one."""

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:root|(?:role|user)/[A-Za-z0-9_+=,.@/-]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command is asked for; without anything, the policy of the principal as which the exporter runs."""

    role: str | None = None
    """The ARN of a role of the configuration: its policy instead."""
    trust: str | None = None
    """The ARN of who assumes that role: its trust policy instead."""
    part: int | None = None
    """From 1, which of several parts."""


def answer(settings: Settings, asked: Asked) -> tuple[str, list[str]]:
    """One document as JSON, and what there is to say beside it.

    Raises `ValueError` where what is asked does not fit the configuration, `ConfigError` for a Region that no partition
    of AWS has.
    """
    if asked.trust is not None:
        if asked.role is None:
            raise ValueError("--trust: whose trust policy? expected --role beside it")
        return _as_json(trust_policy(settings, asked.role, asked.trust)), []
    parts = policies(settings, asked.role)
    if asked.part is None and len(parts) > 1:
        raise ValueError(
            f"the policy is longer than the {MAX_CHARACTERS:,} characters that IAM allows: ask for each of its "
            f"{len(parts)} parts, --part 1 to --part {len(parts)}, and attach them all"
        )
    part = asked.part or 1
    if part > len(parts):
        raise ValueError(f"--part {part}: the policy ends with part {len(parts)}")
    return _as_json(parts[part - 1]), _notes(settings, asked)


def _notes(settings: Settings, asked: Asked) -> list[str]:
    if asked.role is not None:
        return []
    return [f"{role} needs a policy of its own: --role {role}" for role in roles(settings)]


def roles(settings: Settings) -> list[str]:
    """The ARNs of the roles that are assumed, once each, as they come in the configuration."""
    return list(dict.fromkeys(use.target.role_arn for use in _all_uses(settings) if use.target.role_arn))


def policies(settings: Settings, role_arn: str | None = None) -> list[Document]:
    """What a role needs, or without one the principal as which the exporter runs.

    One document, or as many as it takes to keep each within `MAX_CHARACTERS`. Raises `ValueError` for a role
    that the configuration does not name, `ConfigError` for a Region that no partition of AWS has.
    """
    return [_document(part) for part in _parts(_needs(settings, role_arn))]


def trust_policy(settings: Settings, role_arn: str, principal: str) -> Document:
    """What lets a principal assume a role, with the external ids that the configuration sends.

    Raises `ValueError` for a role that the configuration does not name, and for a principal that is no ARN of IAM.
    """
    _require_role(settings, role_arn)
    if not _PRINCIPAL.fullmatch(principal):
        raise ValueError(
            f"{principal} is no principal, expected the ARN of a role, a user or an account, "
            "such as arn:aws:iam::123456789012:role/exporter"
        )
    statement: Document = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ASSUME_ROLE}
    targets = [use.target for use in _all_uses(settings) if use.target.role_arn == role_arn]
    external_ids = {target.external_id for target in targets}
    if None not in external_ids:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": sorted(filter(None, external_ids))}}
    return {"Version": VERSION, "Statement": [statement]}


def _as_json(document: Document) -> str:
    # As people read it: IAM does not count the white space.
    return json.dumps(document, indent=2)


def _require_role(settings: Settings, role_arn: str) -> None:
    known = roles(settings)
    if role_arn not in known:
        expected = f"expected one of {', '.join(known)}" if known else "it has no role_arn at all"
        raise ValueError(f"the configuration does not assume {role_arn}, {expected}")


def _needs(settings: Settings, role_arn: str | None) -> list[Grant]:
    """Each grant once, in the order of the configuration."""
    if role_arn is not None:
        _require_role(settings, role_arn)
    found = [grant for use in _all_uses(settings) if use.target.role_arn == role_arn for grant in grants_of(use)]
    if role_arn is None:
        found += [Grant(ASSUME_ROLE, role) for role in roles(settings)]
    return list(dict.fromkeys(found))


def _all_uses(settings: Settings) -> list[Use]:
    return [*uses(settings), *rule_uses(settings)]


def _parts(grants: Iterable[Grant]) -> Iterator[list[Grant]]:
    """Grants in as few lists as the size of a policy allows; the actions on one resource stay together."""
    of_resource: dict[tuple[str, str | None], list[Grant]] = {}
    for grant in grants:
        of_resource.setdefault((grant.resource, grant.region), []).append(grant)
    part: list[Grant] = []
    for unit in of_resource.values():
        if part and _size(_document([*part, *unit])) > MAX_CHARACTERS:
            yield part
            part = []
        part = [*part, *unit]
    yield part


def _size(document: Document) -> int:
    return len(re.sub(r"\s", "", json.dumps(document)))


def _document(grants: Sequence[Grant]) -> Document:
    """A statement for each set of actions, with all the places where they are granted."""
    on_resources = _alike((grant.resource, grant.action) for grant in grants if grant.region is None)
    in_regions = _alike((grant.region, grant.action) for grant in grants if grant.region is not None)
    statements = [_allow(actions, resources) for actions, resources in on_resources.items()]
    for actions, regions in in_regions.items():
        within = {"Condition": {"StringEquals": {"aws:RequestedRegion": regions}}}
        statements.append(_allow(actions, ["*"]) | within)
    return {"Version": VERSION, "Statement": statements}


def _alike(granted: Iterable[tuple[str, str]]) -> dict[tuple[str, ...], list[str]]:
    """Of pairs of place and action: the places that have the same actions."""
    at_place: dict[str, list[str]] = {}
    for place, action in granted:
        at_place.setdefault(place, []).append(action)
    alike: dict[tuple[str, ...], list[str]] = {}
    for place, actions in at_place.items():
        alike.setdefault(tuple(actions), []).append(place)
    return alike


def _allow(actions: Sequence[str], resources: list[str]) -> Document:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}
