"""PromQL fragments, evaluated by promtool on generated series."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from grafana.dashboards.source import promql
from tests.grafana.dashboards import VARIABLE_VALUES
from tests.grafana.promql import substitute

A, B = 'user_pool_id="eu-west-1_a"', 'user_pool_id="eu-west-1_b"'
ONE, TWO = 'instance="one"', 'instance="two"'
DAY = 86400

Series = tuple[str, str]
"""Series and its values."""
Expected = tuple[str, float]
"""Labels and a value."""


@dataclass(frozen=True, slots=True)
class Case:
    """Expected result of an expression after an hour."""

    expr: str
    series: Sequence[Series]
    expected: Sequence[Expected]


def _shop(*, instance: str = ONE, bypass: str = "true", name: str = "shop") -> Series:
    return f'cognito_user_pool_info{{{A},user_pool_name="{name}",mfa_bypass="{bypass}",{instance}}}', "1x60"


CASES = {
    "pool without a name is shown by its id": Case(
        promql.with_pool_name(promql.devices()),
        [
            _shop(),
            (f"cognito_user_pool_up{{{A},{ONE}}}", "1x60"),
            (f"cognito_user_pool_up{{{B},{ONE}}}", "0x60"),
            (f"cognito_user_pool_devices{{{A},{ONE}}}", "5x60"),
            (f"cognito_user_pool_devices{{{B},{ONE}}}", "7x60"),
        ],
        [(f'{{{A},user_pool_name="shop"}}', 5), (f'{{{B},user_pool_name="eu-west-1_b"}}', 7)],
    ),
    "shards are summed, and a pool with two names is counted once": Case(
        # If two names are equally frequent, Prometheus selects either.
        f"sum without (user_pool_name) ({promql.with_pool_name(promql.devices())})",
        [
            _shop(),
            _shop(instance=TWO, name="shop-old"),
            (f"cognito_user_pool_up{{{A},{ONE}}}", "1x60"),
            (f"cognito_user_pool_up{{{A},{TWO}}}", "1x60"),
            (f"cognito_user_pool_devices{{{A},{ONE}}}", "5x60"),
            (f"cognito_user_pool_devices{{{A},{TWO}}}", "7x60"),
        ],
        [(f"{{{A}}}", 12)],
    ),
    "state of a denied shard wins over ok of another": Case(
        promql.pool_state(),
        [
            (f'cognito_user_pool_state{{{A},state="ok",{ONE}}}', "1x60"),
            (f'cognito_user_pool_state{{{A},state="denied",{ONE}}}', "0x60"),
            (f'cognito_user_pool_state{{{A},state="ok",{TWO}}}', "0x60"),
            (f'cognito_user_pool_state{{{A},state="denied",{TWO}}}', "1x60"),
            (f'cognito_user_pool_state{{{B},state="ok",{ONE}}}', "1x60"),
        ],
        [(f'{{{A},state="denied"}}', 1), (f'{{{B},state="ok"}}', 1)],
    ),
    "pool with problems in several shards is counted once": Case(
        promql.unhealthy_pools(),
        [
            (f'cognito_user_pool_state{{{A},state="denied",{ONE}}}', "1x60"),
            (f'cognito_user_pool_state{{{A},state="denied",{TWO}}}', "1x60"),
            (f'cognito_user_pool_state{{{B},state="denied",{ONE}}}', "0x60"),
            (f'cognito_user_pool_state{{{B},state="tracking_off",{ONE}}}', "1x60"),
        ],
        [("{}", 1)],
    ),
    "only remembered devices in pools with MFA bypass are counted": Case(
        promql.mfa_bypass_devices("cognito_user_pool_devices"),
        [
            _shop(),
            (f'cognito_user_pool_info{{{B},user_pool_name="b",mfa_bypass="false",{ONE}}}', "1x60"),
            (f'cognito_user_pool_devices{{{A},remembered_status="remembered",{ONE}}}', "5x60"),
            (f'cognito_user_pool_devices{{{A},remembered_status="not_remembered",{ONE}}}', "3x60"),
            (f'cognito_user_pool_devices{{{B},remembered_status="remembered",{ONE}}}', "7x60"),
        ],
        [("{}", 5)],
    ),
    "without pools with MFA bypass the count is 0": Case(
        promql.mfa_bypass_devices("cognito_user_pool_devices"),
        [_shop(bypass="false"), (f'cognito_user_pool_devices{{{A},remembered_status="remembered",{ONE}}}', "5x60")],
        [("{}", 0)],
    ),
    "pool without devices has no stale share instead of NaN": Case(
        promql.stale_share(),
        [
            (f'cognito_user_pool_stale_devices{{{A},threshold="90d",{ONE}}}', "0x60"),
            (f"cognito_user_pool_devices{{{A},{ONE}}}", "0x60"),
            (f'cognito_user_pool_stale_devices{{{B},threshold="90d",{ONE}}}', "2x60"),
            (f'cognito_user_pool_stale_devices{{{B},threshold="30d",{ONE}}}', "6x60"),
            (f"cognito_user_pool_devices{{{B},{ONE}}}", "8x60"),
        ],
        [(f"{{{B}}}", 0.25)],
    ),
    "cutoff is the threshold before now": Case(
        f"vector(time() - {promql.CUTOFF})",
        [],
        [("{}", 90 * DAY)],
    ),
    "data age is that of the oldest observation of any shard": Case(
        promql.data_age_in_intervals(),
        [
            (f"cognito_exporter_oldest_observation_timestamp_seconds{{{A},{ONE}}}", "1800x60"),
            (f"cognito_exporter_oldest_observation_timestamp_seconds{{{A},{TWO}}}", "900x60"),
            (f"cognito_exporter_refresh_interval_seconds{{{A},{ONE}}}", "1800x60"),
        ],
        [(f"{{{A}}}", 1.5)],
    ),
    "graph has the pools that are highest at its end": Case(
        f"count({promql.highest(promql.devices(), promql.devices(promql.AT_END))})",
        [(f'cognito_user_pool_devices{{user_pool_id="p{number}"}}', f"{number}x60") for number in range(30)],
        [("{}", promql.LIMIT)],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_fragment(promtool: str, case: Case, tmp_path: Path) -> None:
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series],
        "promql_expr_test": [
            {
                "expr": substitute(case.expr, VARIABLE_VALUES),
                "eval_time": "1h",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in case.expected],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}), encoding="utf-8")

    run = subprocess.run([promtool, "test", "rules", path], capture_output=True, check=False)

    assert run.returncode == 0, (run.stdout + run.stderr).decode()
