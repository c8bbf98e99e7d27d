"""The page on `/`: what this is, where to go, and how each pool stands. Server-rendered, no script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

from exporter.collect.snapshot import PoolView
from exporter.metrics.text import clean

NAME = "cognito-device-exporter"

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""

_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing may be loaded or run but the one style sheet in the page."""


def landing_page(views: Sequence[PoolView], *, version: str, telemetry_path: str) -> str:
    """The page as HTML. It names pools, never users."""
    links = "".join(
        f'<li><a href="{escape(path)}">{escape(path)}</a> {meaning}</li>'
        for path, meaning in (
            (telemetry_path, "the metrics"),
            ("/-/healthy", "whether the process is alive"),
            ("/-/ready", "whether every pool was contacted"),
        )
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{NAME}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{NAME}</h1>
<p>Version {escape(version)}. Remembered devices of Amazon Cognito user pools, for Prometheus.</p>
<ul>{links}</ul>
<h2>User pools</h2>
{_table(views)}
</body>
</html>
"""


def _table(views: Sequence[PoolView]) -> str:
    if not views:
        return "<p>No user pool is configured.</p>"
    rows = "\n".join(_row(view) for view in views)
    return f"""<table>
<thead><tr><th scope="col">Pool</th><th scope="col">Name</th><th scope="col">State</th>\
<th scope="col">Users</th><th scope="col">Devices</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _row(view: PoolView) -> str:
    name = "" if view.description is None else clean(view.description.name)
    users = "" if view.data is None else str(view.data.users)
    devices = "" if view.data is None else str(sum(view.data.devices.values()))
    return (
        f"<tr><td>{escape(view.settings.id)}</td><td>{escape(name)}</td><td>{escape(view.state.value)}</td>"
        f'<td class="number">{users}</td><td class="number">{devices}</td></tr>'
    )
