"""User names that are difficult for text formats: returned unchanged, and not in the log."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.emulator import DeviceMix, Emulator
from exporter.logging_setup import LogLevel
from tests.harness import CLASSIC, OPENMETRICS, captured_log, config, identity_key, serving
from tests.hostile_names import HOSTILE, PUNCTUATION, one_of_every_script
from tests.truth import activity_by_device, assert_correct

ONE_EACH = DeviceMix(per_user={1: 1, 2: 1})

KEY = "the key of the hostile names"


def fingerprint(pool_id: str) -> Callable[[str], str]:
    """Return the documented label for identity hmac."""
    return lambda name: hmac.new(KEY.encode(), f"{pool_id}\0{name}".encode(), hashlib.sha256).hexdigest()[:32]


def test_names_cover_many_scripts() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE)
    assert len(one_of_every_script()) > 150


@pytest.mark.parametrize("identity", ["raw", "hmac"])
def test_name_is_exact_and_not_logged(emulator: Emulator, tmp_path: Path, identity: str) -> None:
    pool_id = emulator.seed_pool("pool", users=HOSTILE, devices=ONE_EACH)
    text = config(
        emulator.url,
        pool_id,
        detail="device",
        identity=identity,
        identity_key_file=identity_key(tmp_path, KEY),
    )
    with captured_log(LogLevel.DEBUG) as log, serving(text, tmp_path, emulator.url) as exporter:
        exporter.after_first_sweep(pool_id)
        pages = [exporter.scrape(CLASSIC), exporter.scrape(OPENMETRICS)]
    truth = emulator.truth(pool_id)
    label = str if identity == "raw" else fingerprint(pool_id)
    for page in pages:
        assert_correct(page, pool_id, truth)
        shown = page.series("cognito_device_last_authentication_timestamp_seconds", "user", "device_key")
        assert shown == activity_by_device(truth, label)
        sizes = {label(name): len(devices) for name, devices in truth.users.items()}
        assert page.series("cognito_user_devices", "user") == sizes
        assert set(page.series("cognito_device_info", "user")) == set(sizes)
    assert log.events("sweep finished", users_read=len(HOSTILE))
    assert not [name for name in HOSTILE if is_told(name, log.text)]


def is_told(name: str, text: str) -> bool:
    """Return whether a log contains the name in any encoding; names of one or two punctuation marks are ignored."""
    written = {name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1], repr(name)[1:-1]}
    return len(name) > 4 and any(way in text for way in written)


def test_name_in_a_log_is_detected() -> None:
    for name in PUNCTUATION:
        assert len(name) < 5 or is_told(name, f"user {json.dumps(name)} was read")
