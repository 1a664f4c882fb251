"""What an alert says, from the verdict alone, and in the form that each messenger expects."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import re
import time
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hivemill.common.storage.atomic import fingerprint
from hivemill.pipeline.documents import verdict_summary
from hivemill.pipeline.documents.verdict_summary import Summary

if TYPE_CHECKING:
    from hivemill.serving.rollout.state import Rollout

MAX_FINDINGS = 10
WECOM_MAX_BYTES = 4096
_FEISHU_COLOURS = {"red": "red", "amber": "orange", "green": "green"}
DATA_NOT_READY, ROLLOUT_ABORTED = 3, 8


@dataclasses.dataclass(frozen=True)
class Alert:
    """One message. The same `key` is sent to a channel once."""

    event: str
    summary: Summary
    key: str
    note: str | None = None
    report: str | None = None

    @property
    def title(self) -> str:
        words = {"recovery": "Recovered", "late": "Late data", "overrun": "Overrun", "test": "Test"}
        words |= {"aborted": "Rollout", "waiting": "Rollout"}
        return words.get(self.event, verdict_summary.WORDS[self.summary.colour]) + f": {self.summary.title}"

    def lines(self) -> list[str]:
        """Plain text, a line each."""
        one = self.summary
        found = [f"{severity}: {message}" for severity, message in one.findings if message not in one.reason]
        lines = [one.reason, *([self.note] if self.note else []), *found[:MAX_FINDINGS]]
        if len(found) > MAX_FINDINGS:
            lines.append(f"and {len(found) - MAX_FINDINGS} more findings")
        lines.append(f"Run {one.run_id}, data up to {one.date}, exit code {one.exit_code}")
        return [*lines, *([f"Report: {self.report}"] if self.report else [])]

    def document(self) -> dict[str, Any]:
        """The generic JSON document (docs/alerts.md)."""
        about = {"version": 1, "event": self.event, "alert_title": self.title}
        return about | self.summary.document() | {"note": self.note, "report": self.report, "key": self.key}


def of_verdict(verdict: Mapping[str, Any], last_colour: str | None, report: str | None = None) -> Alert | None:
    """The alert that a finished run calls for; None where green follows green, or nothing."""
    summary = verdict_summary.summary_of(verdict)
    if summary.exit_code == DATA_NOT_READY:
        return Alert("late", summary, fingerprint("late", summary.date), report=report)
    if summary.colour == "green":
        if last_colour in (None, "green"):
            return None
        note = f"The verdict before was {last_colour}."
        return Alert("recovery", summary, fingerprint("recovery", summary.run_id, summary.date), note, report)
    return Alert(summary.colour, summary, _key(verdict, summary), report=report)


def of_overrun(run_id: str, date: str, minutes: float) -> Alert:
    reason = f"the run goes on, longer than alerts.max_run_minutes ({minutes:g})"
    summary = Summary(run_id, date, "amber", 0, "the run takes longer than it should", reason, None, ())
    return Alert("overrun", summary, fingerprint("overrun", run_id))


def of_aborted_rollout(rollout: Rollout, run_id: str, date: str) -> Alert:
    """`run_id` and `date` are those of the run that made the version."""
    title, reason = f"version {rollout.canary} was aborted", rollout.why or "by hand; nobody said why"
    summary = Summary(run_id, date, "red", ROLLOUT_ABORTED, title, reason, None, ())
    note = f"Version {rollout.stable} is to serve all again; `hivemill rollout status` shows what does."
    return Alert("aborted", summary, fingerprint("aborted", rollout.id), note)


def of_waiting_rollout(rollout: Rollout, run_id: str, date: str, hours: float, reason: str) -> Alert:
    """`reason` is what the last step said. Told once for each percentage."""
    title = f"version {rollout.canary} has been at {rollout.percent} % for {hours:.0f} hours"
    summary = Summary(run_id, date, "amber", 0, title, reason, None, ())
    return Alert("waiting", summary, fingerprint("waiting", rollout.id, rollout.percent))


def of_test(name: str) -> Alert:
    """What `hivemill alerts test` sends; its key is new each time, so nothing holds it back."""
    reason = f"this is a test of the alerts of {name}; nothing has happened"
    summary = Summary("test", time.strftime("%Y-%m-%d", time.gmtime()), "green", 0, "no run", reason, None, ())
    return Alert("test", summary, fingerprint("test", time.time_ns()))


def body(preset: str, alert: Alert, secret: str | None, now: float) -> dict[str, Any]:
    """The JSON that a messenger's webhook takes."""
    if preset == "slack":
        return {"text": "\n".join([f"*{_slack(alert.title)}*", *map(_slack, alert.lines())])}
    if preset == "feishu":
        return _feishu(alert, secret, now)
    if preset == "dingtalk":
        text = _markdown(alert, "\n\n")
        return {"msgtype": "markdown", "markdown": {"title": alert.title, "text": text}}
    if preset == "wecom":
        text = _markdown(alert, "\n").encode()[:WECOM_MAX_BYTES].decode(errors="ignore")
        return {"msgtype": "markdown", "markdown": {"content": text}}
    return alert.document()


def address(preset: str, url: str, secret: str | None, now: float) -> str:
    """The URL, with DingTalk's signature where there is a secret."""
    if preset != "dingtalk" or not secret:
        return url
    stamp = str(round(now * 1000))
    sign = base64.b64encode(hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), "sha256")).decode()
    return f"{url}{'&' if '?' in url else '?'}" + urllib.parse.urlencode({"timestamp": stamp, "sign": sign})


def refused(preset: str, answer: Any) -> str | None:
    """Why a messenger that answered 200 has not taken the message; None where it has."""
    if preset == "slack":
        return None if answer == "ok" else "the answer is not `ok`"
    if preset == "generic":
        return None
    if not isinstance(answer, dict):
        return "the answer is no JSON object"
    code = answer.get("errcode", answer.get("code", answer.get("StatusCode")))
    return None if code == 0 else f"the answer has error code {code!r}"


def signature(payload: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()


def _key(verdict: Mapping[str, Any], summary: Summary) -> str:
    """The same trouble of the same day: numbers in the message may differ from one attempt to the next."""
    red = [one for one in verdict_summary.all_findings(verdict) if one["severity"] == summary.colour]
    what = sorted(f"{one['kind']} {one.get('feature')} {one.get('slice')} {one.get('cause')}" for one in red)
    words = re.sub(r"\d+", "#", summary.reason) if not what else ""
    return fingerprint(summary.colour, summary.date, summary.exit_code, what, words)


def _feishu(alert: Alert, secret: str | None, now: float) -> dict[str, Any]:
    title = {"tag": "plain_text", "content": alert.title}
    card = {
        "header": {"template": _FEISHU_COLOURS[alert.summary.colour], "title": title},
        "elements": [{"tag": "div", "text": {"tag": "plain_text", "content": "\n".join(alert.lines())}}],
    }
    made: dict[str, Any] = {"msg_type": "interactive", "card": card}
    if secret:
        stamp = str(int(now))
        sign = hmac.digest(f"{stamp}\n{secret}".encode(), b"", "sha256")
        made |= {"timestamp": stamp, "sign": base64.b64encode(sign).decode()}
    return made


def _markdown(alert: Alert, newline: str) -> str:
    return newline.join([f"**{alert.title}**", *(f"> {line}" for line in alert.lines())])


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
