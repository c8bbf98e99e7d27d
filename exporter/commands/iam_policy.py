"""`iam-policy`: least-privilege IAM policies for a configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.aws.permissions import ASSUME_ROLE, AccessNeed, Grant, access_needs, grants_of, rule_access_needs
from exporter.config.settings import Settings
from exporter.text import counted

Document = dict[str, Any]

MAX_CHARACTERS = 6144
"""Size limit of a managed policy, without white space; all inline policies of a role together may have 10,240."""

VERSION = "2012-10-17"
"""Latest version of the policy language."""

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:root|(?:role|user)/[A-Za-z0-9_+=,.@/-]+)")


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """Options of the command; without any, it prints the policy of the principal that runs the exporter."""

    role: str | None = None
    """ARN of a role in the configuration whose policy to print."""
    trust: str | None = None
    """ARN of the principal that assumes `role`, to print the trust policy of `role`."""
    part: int | None = None
    """Number of the part to print, from 1, of a policy that is split."""


def policy_text(settings: Settings, request: PolicyRequest) -> tuple[str, list[str]]:
    """Return one document as JSON, and notes for the operator.

    Raises `ValueError` if the options do not fit the configuration, `ConfigError` for a Region that no AWS partition
    has.
    """
    if request.trust is not None:
        if request.role is None:
            raise ValueError("--trust requires --role")
        return _as_json(trust_policy(settings, request.role, request.trust)), []
    parts = policies(settings, request.role)
    if request.part is None and len(parts) > 1:
        raise ValueError(
            f"the policy exceeds the IAM limit of {MAX_CHARACTERS:,} characters: print its {len(parts)} parts with "
            f"--part 1 to --part {len(parts)}, and attach all of them"
        )
    part = request.part or 1
    if part > len(parts):
        raise ValueError(f"--part {part}: the policy has {counted(len(parts), 'part')}")
    notes = [] if request.role else [f"{role} requires its own policy: --role {role}" for role in roles(settings)]
    return _as_json(parts[part - 1]), notes


def roles(settings: Settings) -> list[str]:
    """Return the ARNs of the assumed roles without duplicates, in configuration order."""
    return list(dict.fromkeys(need.target.role_arn for need in _all_needs(settings) if need.target.role_arn))


def policies(settings: Settings, role_arn: str | None = None) -> list[Document]:
    """Return the policy of a role or, without one, of the principal that runs the exporter.

    The policy is split into several documents if it exceeds `MAX_CHARACTERS`. Raises `ValueError` for a role that the
    configuration does not name, `ConfigError` for a Region that no AWS partition has.
    """
    return [_document(part) for part in _parts(_grants(settings, role_arn))]


def trust_policy(settings: Settings, role_arn: str, principal: str) -> Document:
    """Return the trust policy that allows a principal to assume a role with the configured external ids.

    Raises `ValueError` for a role that the configuration does not name and for a principal that is not an IAM ARN.
    """
    _require_role(settings, role_arn)
    if not _PRINCIPAL.fullmatch(principal):
        raise ValueError(
            f"{principal} is not a valid principal, expected the ARN of a role, a user or an account, "
            "such as arn:aws:iam::123456789012:role/exporter"
        )
    statement: Document = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ASSUME_ROLE}
    targets = [need.target for need in _all_needs(settings) if need.target.role_arn == role_arn]
    external_ids = {target.external_id for target in targets}
    if None not in external_ids:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": sorted(filter(None, external_ids))}}
    return {"Version": VERSION, "Statement": [statement]}


def _as_json(document: Document) -> str:
    # Indented for readability: IAM does not count white space.
    return json.dumps(document, indent=2)


def _require_role(settings: Settings, role_arn: str) -> None:
    known = roles(settings)
    if role_arn not in known:
        expected = f"expected one of {', '.join(known)}" if known else "which has no role_arn"
        raise ValueError(f"--role {role_arn}: not in the configuration, {expected}")


def _grants(settings: Settings, role_arn: str | None) -> list[Grant]:
    """Return the grants without duplicates, in configuration order."""
    if role_arn is not None:
        _require_role(settings, role_arn)
    found = [grant for need in _all_needs(settings) if need.target.role_arn == role_arn for grant in grants_of(need)]
    if role_arn is None:
        found += [Grant(ASSUME_ROLE, role) for role in roles(settings)]
    return list(dict.fromkeys(found))


def _all_needs(settings: Settings) -> list[AccessNeed]:
    return [*access_needs(settings), *rule_access_needs(settings)]


def _parts(grants: Iterable[Grant]) -> Iterator[list[Grant]]:
    """Yield the grants in parts within the size limit; all actions on one resource stay in one part."""
    of_resource: dict[tuple[str, str | None], list[Grant]] = {}
    for grant in grants:
        of_resource.setdefault((grant.resource, grant.region), []).append(grant)
    part: list[Grant] = []
    for unit in of_resource.values():
        size = len(re.sub(r"\s", "", json.dumps(_document([*part, *unit]))))
        if part and size > MAX_CHARACTERS:
            yield part
            part = []
        part = [*part, *unit]
    yield part


def _document(grants: Sequence[Grant]) -> Document:
    """Return a policy with one statement per set of actions, which lists the resources or Regions that share it."""
    on_resources = _group_by_actions((grant.resource, grant.action) for grant in grants if grant.region is None)
    in_regions = _group_by_actions((grant.region, grant.action) for grant in grants if grant.region is not None)
    statements = [_allow(actions, resources) for actions, resources in on_resources.items()]
    for actions, regions in in_regions.items():
        within = {"Condition": {"StringEquals": {"aws:RequestedRegion": regions}}}
        statements.append(_allow(actions, ["*"]) | within)
    return {"Version": VERSION, "Statement": statements}


def _group_by_actions(granted: Iterable[tuple[str, str]]) -> dict[tuple[str, ...], list[str]]:
    """Group resources or Regions, given in pairs with an action, by the actions that they share."""
    actions_of: dict[str, list[str]] = {}
    for place, action in granted:
        actions_of.setdefault(place, []).append(action)
    places_of: dict[tuple[str, ...], list[str]] = {}
    for place, actions in actions_of.items():
        places_of.setdefault(tuple(actions), []).append(place)
    return places_of


def _allow(actions: Sequence[str], resources: list[str]) -> Document:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}
