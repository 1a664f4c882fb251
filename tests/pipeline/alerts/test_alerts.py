"""Alerts against real servers on this machine: HTTP as the messengers answer it, SMTP with login and starttls."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from hivemill.common.errors import DataNotReadyError, InfrastructureError, LockHeldError
from hivemill.pipeline.alerts import messages
from hivemill.pipeline.alerts.delivery import Alerts, OverrunWatch
from hivemill.pipeline.alerts.options import AlertOptions
from hivemill.pipeline.cli import main
from hivemill.pipeline.cli.console import Console
from hivemill.pipeline.config import loader
from hivemill.pipeline.root import object_root
from hivemill.pipeline.runs import publish, stepwise_run

SECRET = "k3y-of-the-hook"
URL_ENV = "TEST_ALERT_URL"


class Hook:
    """An HTTP server that records what it gets and answers from a list (the last answer repeats)."""

    def __init__(self, *answers: tuple[int, str]):
        self.requests: list[dict] = []
        hook, left = self, list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                code, text = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/{SECRET}?access_token={SECRET}"

    def bodies(self) -> list[dict]:
        return [json.loads(request["body"]) for request in self.requests]


@pytest.fixture
def hook() -> Iterator[Callable[..., Hook]]:
    made: list[Hook] = []

    def make(*answers: tuple[int, str]) -> Hook:
        made.append(Hook(*(answers or ((200, "ok"),))))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def verdict(colour: str = "red", exit_code: int = 4, date: str = "2026-11-15", **changes) -> dict:
    finding = {
        "severity": colour,
        "kind": "drift",
        "feature": "price",
        "cause": "unit_change",
        "message": "price: <JS>",
    }
    has_finding = colour != "green" and exit_code in (0, 4)
    data = {"colour": colour, "findings": [finding] if has_finding else []}
    reason = {"red": "data verdict red: price: JS 0.31 > 0.20", "amber": "version 7 is pushed"}.get(colour, "fine")
    made = {"version": 2, "run_id": f"{date}-1a2b3c4d", "date": date, "colour": colour, "exit_code": exit_code}
    return made | {"reason": reason, "cause": None, "data": data, "model": None, "trend": []} | changes


def alerts_to(root: Path, *channels: dict, environment: dict | None = None, **options) -> Alerts:
    waits: list[float] = []
    made = Alerts(AlertOptions(channels=channels, **options), root, environment or {}, waits.append)
    made.waits = waits
    return made


def webhook(preset: str = "generic", **options) -> dict:
    return {"type": "webhook", "preset": preset, "url_env": URL_ENV, **options}


def states(reports: list[dict]) -> list[tuple]:
    return [(one["event"], one["state"], one["attempts"]) for one in reports]


def test_generic_document_with_signature(hook, tmp_path):
    server = hook()
    alerts = alerts_to(tmp_path, webhook(secret_env="TEST_KEY"), environment={URL_ENV: server.url, "TEST_KEY": SECRET})
    assert states(alerts.verdict(verdict(), "/r/report.html")) == [("red", "sent", 1)]
    (request,) = server.requests
    document = json.loads(request["body"])
    assert document["event"] == "red" and document["headline"] == "Red: Stopped: the data verdict is red"
    assert document["findings"] == [{"severity": "red", "message": "price: <JS>"}]
    assert document["report"] == "/r/report.html" and document["exit_code"] == 4
    signed = hmac.new(SECRET.encode(), request["body"], hashlib.sha256).hexdigest()
    assert request["headers"]["X-Hivemill-Signature"] == f"sha256={signed}"


@pytest.mark.parametrize(
    ("preset", "good", "bad", "text_at"),
    [
        ("slack", "ok", "invalid_payload", lambda body: body["text"]),
        ("feishu", '{"code": 0}', '{"code": 19021}', lambda body: body["card"]["elements"][0]["text"]["content"]),
        ("dingtalk", '{"errcode": 0}', '{"errcode": 310000}', lambda body: body["markdown"]["text"]),
        ("wecom", '{"errcode": 0}', '{"errcode": 93000}', lambda body: body["markdown"]["content"]),
    ],
)
def test_messengers_get_their_form_and_their_own_no_is_a_failure(hook, tmp_path, preset, good, bad, text_at):
    """They answer HTTP 200 to a message that they refuse."""
    server = hook((200, good), (200, bad))
    alerts = alerts_to(tmp_path, webhook(preset), environment={URL_ENV: server.url})
    assert states(alerts.verdict(verdict())) == [("red", "sent", 1)]
    assert "price: JS 0.31 > 0.20" in text_at(server.bodies()[0]).replace("&gt;", ">")
    (report,) = alerts.verdict(verdict(date="2026-11-16"))
    assert (report["state"], report["attempts"]) == ("failed", 1)
    assert report["error"]


def test_wecom_stays_below_its_limit(hook, tmp_path):
    server = hook((200, '{"errcode": 0}'))
    many = [{"severity": "red", "kind": "drift", "feature": str(i), "message": "价格" * 150} for i in range(30)]
    made = verdict(data={"colour": "red", "findings": many})
    alerts_to(tmp_path, webhook("wecom"), environment={URL_ENV: server.url}).verdict(made)
    assert len(server.bodies()[0]["markdown"]["content"].encode()) <= 4096


def test_signatures_of_feishu_and_dingtalk(hook, tmp_path):
    server = hook((200, '{"errcode": 0, "code": 0}'))
    environment = {URL_ENV: server.url, "TEST_KEY": SECRET}
    for preset in ("feishu", "dingtalk"):
        made = alerts_to(tmp_path / preset, webhook(preset, secret_env="TEST_KEY"), environment=environment)
        assert made.verdict(verdict())[0]["state"] == "sent"
    feishu, dingtalk = server.requests
    body = json.loads(feishu["body"])
    sign = hmac.new(f"{body['timestamp']}\n{SECRET}".encode(), b"", hashlib.sha256).digest()
    assert base64.b64decode(body["sign"]) == sign and abs(int(body["timestamp"]) - time.time()) < 60
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(dingtalk["path"]).query)
    stamp = query["timestamp"][0]
    sign = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    assert base64.b64decode(query["sign"][0]) == sign and query["access_token"] == [SECRET]


def test_a_failure_is_tried_again_with_growing_waits(hook, tmp_path):
    server = hook((500, ""), (429, ""), (503, ""), (200, "ok"))
    alerts = alerts_to(tmp_path, webhook(), environment={URL_ENV: server.url})
    assert states(alerts.verdict(verdict())) == [("red", "sent", 4)]
    assert alerts.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "attempts", "words"),
    [((500, ""), 4, "HTTP 500"), ((404, ""), 1, "HTTP 404"), ((302, ""), 1, "HTTP 302")],
)
def test_what_will_not_change_is_not_tried_again(hook, tmp_path, answer, attempts, words):
    server = hook(answer)
    (report,) = alerts_to(tmp_path, webhook(), environment={URL_ENV: server.url}).verdict(verdict())
    assert (report["state"], report["attempts"]) == ("failed", attempts)
    assert words in report["error"] and len(server.requests) == attempts
    assert all(request["path"].startswith("/hook/") for request in server.requests), "a redirect was followed"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/{}", "ftp://x/{}", "http://[bad/{}", "nonsense {}", ""])
def test_no_secret_is_ever_told(tmp_path, capfd, caplog, url):
    caplog.set_level("DEBUG")
    url = url.format(SECRET)
    alerts = alerts_to(tmp_path, webhook(), environment={URL_ENV: url}, timeout_seconds=1)
    (report,) = alerts.verdict(verdict())
    assert report["state"] == "failed" and URL_ENV in report["channel"]
    files = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    seen = "".join([json.dumps(report), caplog.text, *capfd.readouterr(), files])
    assert SECRET not in seen


def test_an_alert_is_sent_once_and_a_failed_channel_gets_it_later(hook, tmp_path):
    good, weak = hook(), hook((404, ""), (200, "ok"))
    channels = (webhook(), webhook("generic") | {"url_env": "TEST_OTHER_URL"})
    environment = {URL_ENV: good.url, "TEST_OTHER_URL": weak.url}

    def again(made: dict) -> list[str]:
        return [one["state"] for one in alerts_to(tmp_path, *channels, environment=environment).verdict(made)]

    assert again(verdict()) == ["sent", "failed"]
    assert again(verdict(reason="the same trouble in other words")) == ["duplicate", "sent"]
    assert again(verdict()) == ["duplicate", "duplicate"]
    assert again(verdict(date="2026-11-22")) == ["sent", "sent"]
    assert (len(good.requests), len(weak.requests)) == (2, 3)


def test_channels_that_are_called_the_same_are_two(tmp_path):
    """One mail server for two teams, one program with two targets: what one had, the other may lack."""
    works, fails = (
        {"type": "command", "command": [sys.executable, "-c", code]} for code in ("", "raise SystemExit(1)")
    )

    def again() -> list[tuple]:
        return states(alerts_to(tmp_path, works, fails, attempts=1).verdict(verdict()))

    assert again() == [("red", "sent", 1), ("red", "failed", 1)]
    assert again() == [("red", "duplicate", 0), ("red", "failed", 1)]


def test_events_from_red_to_recovery(hook, tmp_path):
    server = hook()
    alerts = alerts_to(tmp_path, webhook(), environment={URL_ENV: server.url})
    story = [
        (verdict("green", 0), None),
        (verdict("amber", 0), "amber"),
        (verdict("red", 3, reason="dt=2026-11-15 is missing"), "late"),
        (verdict("red", 4), "red"),
        (verdict("red", 5, reason="model not blessed: auc is 0.4"), "red"),
        (verdict("green", 0), "recovery"),
        (verdict("green", 0), None),
    ]
    for made, event in story:
        assert [one["event"] for one in alerts.verdict(made)] == ([event] if event else [])
    assert server.bodies()[-1]["note"] == "The verdict before was red."


def test_a_channel_gets_only_its_events(hook, tmp_path):
    server = hook()
    alerts = alerts_to(tmp_path, webhook(events=["late", "recovery"]), environment={URL_ENV: server.url})
    assert alerts.verdict(verdict()) == []
    assert [one["event"] for one in alerts.verdict(verdict("green", 0))] == ["recovery"]


def test_a_run_that_overruns_is_told_while_it_runs(hook, tmp_path):
    server = hook()
    alerts = alerts_to(tmp_path, webhook(), environment={URL_ENV: server.url})
    with OverrunWatch(alerts, 0.3 / 60, "2026-11-15-x", "2026-11-15") as watch:
        deadline = time.monotonic() + 20
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.bodies()[0]["event"] == "overrun"
    assert states(watch.reports) == [("overrun", "sent", 1)]
    with OverrunWatch(alerts, 60, "2026-11-16-x", "2026-11-16") as watch:
        pass
    with OverrunWatch(alerts, None, "2026-11-17-x", "2026-11-17"):
        pass
    assert watch.reports == [] and len(server.requests) == 1


def test_a_defect_in_the_alerts_is_a_report(tmp_path):
    alerts = alerts_to(tmp_path, webhook(), environment={URL_ENV: "http://127.0.0.1:9/"})
    (report,) = alerts.verdict({"colour": "red"})
    assert (report["state"], report["error"]) == ("failed", "KeyError")
    (tmp_path / "alerts.json").write_text("{half a docu")
    assert alerts_to(tmp_path).verdict(verdict()) == []


def test_a_command_gets_the_document(tmp_path):
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    seen = tmp_path / "seen"
    channel = {"type": "command", "command": [sys.executable, "-c", code, str(seen)]}
    assert states(alerts_to(tmp_path, channel).verdict(verdict())) == [("red", "sent", 1)]
    assert json.loads(seen.read_text())["findings"][0]["message"] == "price: <JS>"


@pytest.mark.parametrize(
    ("command", "attempts", "words"),
    [
        ([sys.executable, "-c", "raise SystemExit(7)"], 2, "exit code 7"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], 2, "did not end within 0.5 s"),
        (["/nonexistent/notify"], 1, "cannot be started"),
    ],
)
def test_a_command_that_fails(tmp_path, command, attempts, words):
    channel = {"type": "command", "command": command}
    (report,) = alerts_to(tmp_path, channel, attempts=2, timeout_seconds=0.5).verdict(verdict())
    assert (report["state"], report["attempts"]) == ("failed", attempts)
    assert words in report["error"]


class Mailbox:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content, session.authenticated))
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if "nobody" in address:
            return f"550 no such user, but I know {SECRET}"
        envelope.rcpt_tos.append(address)
        return "250 OK"


class _Server(Controller):
    """Asks for a login where there is a password."""

    def __init__(self, mailbox: Mailbox, password: str | None = None):
        super().__init__(mailbox, hostname="127.0.0.1", port=0)
        self.password = password

    def factory(self):
        return SMTP(
            self.handler,
            authenticator=lambda server, session, envelope, mechanism, data: AuthResult(
                success=data.password == (self.password or "").encode(),
                handled=False,  # the server answers 235 or 535
            ),
            auth_required=self.password is not None,
            auth_require_tls=False,
        )

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def mail_server():
    started = []

    def start(password: str | None = None) -> tuple[Mailbox, int]:
        mailbox = Mailbox()
        server = _Server(mailbox, password)
        server.start()
        started.append(server)
        return mailbox, server.port

    yield start
    for server in started:
        server.stop()


def email(port: int, **options) -> dict:
    channel = {"type": "email", "host": "127.0.0.1", "port": port, "security": "none", "sender": "mill@example.org"}
    return {**channel, "to": ["a@example.org", "b@example.org"], **options}


def test_a_mail(mail_server, tmp_path):
    mailbox, port = mail_server()
    made = verdict("red", 4, reason="price:\u00a0<JS> 价格 > 0.20")
    assert states(alerts_to(tmp_path, email(port)).verdict(made)) == [("red", "sent", 1)]
    ((sender, to, content, _),) = mailbox.mails
    import email as parser

    message = parser.message_from_bytes(content)
    assert (sender, to) == ("mill@example.org", ["a@example.org", "b@example.org"])
    assert message["Subject"] == "[hivemill] Red: Stopped: the data verdict is red, 2026-11-15"
    assert message["Auto-Submitted"] == "auto-generated" and message["Message-ID"]
    assert "<JS> 价格 > 0.20" in message.get_payload(decode=True).decode()


def test_a_mail_with_login(mail_server, tmp_path, capfd):
    mailbox, port = mail_server(password=SECRET)
    channel = email(port, user_env="TEST_USER", password_env="TEST_PASSWORD")
    right = {"TEST_USER": "mill", "TEST_PASSWORD": SECRET}
    assert states(alerts_to(tmp_path, channel, environment=right).verdict(verdict())) == [("red", "sent", 1)]
    assert mailbox.mails[0][3] is True
    wrong = {**right, "TEST_PASSWORD": "wrong-" + SECRET}
    (report,) = alerts_to(tmp_path / "2", channel, environment=wrong).verdict(verdict())
    assert (report["state"], report["attempts"]) == ("failed", 1) and "535" in report["error"]
    assert SECRET not in json.dumps(report) + "".join(capfd.readouterr())


def test_a_refused_mail_does_not_repeat_what_the_server_said(mail_server, tmp_path):
    _, port = mail_server()
    (report,) = alerts_to(tmp_path, email(port, to=["nobody@example.org"])).verdict(verdict())
    assert (report["state"], report["attempts"]) == ("failed", 1)
    assert "550" in report["error"] and SECRET not in report["error"]


def test_starttls_is_not_left_out_where_the_server_has_none(mail_server, tmp_path):
    mailbox, port = mail_server()
    (report,) = alerts_to(tmp_path, email(port, security="starttls")).verdict(verdict())
    assert report["state"] == "failed" and "starttls" in report["error"] and mailbox.mails == []


def test_no_mail_server(tmp_path):
    (report,) = alerts_to(tmp_path, email(9), attempts=2).verdict(verdict())
    assert (report["state"], report["attempts"]) == ("failed", 2) and "no connection" in report["error"]


CONFIG = {
    "name": "shop",
    "source": {"table": "log", "columns": {"click": "int", "price": "double"}},
    "label": {"column": "click"},
    "features": {"price": {"type": "numeric"}},
}


def write_config(folder: Path, **alerts) -> Path:
    path = folder / "hivemill.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "alerts": alerts}))
    return path


def test_the_verb_sends_a_test_to_every_channel(hook, tmp_path, capsys, monkeypatch):
    server = hook()
    monkeypatch.setenv(URL_ENV, server.url)
    good = webhook(events=["red"])
    path = write_config(tmp_path, channels=[good])
    assert main.main(["--config", str(path), "alerts", "test"]) == 0
    assert "sent" in capsys.readouterr().out and server.bodies()[0]["event"] == "test"
    monkeypatch.delenv(URL_ENV)
    assert main.main(["--config", str(path), "--json", "alerts", "test"]) == 6
    (report,) = json.loads(capsys.readouterr().out)["alerts"]
    assert report["error"] == f"environment variable {URL_ENV} is not set"
    assert main.main(["--config", str(write_config(tmp_path)), "alerts", "test"]) == 2


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ({"type": "webhook", "url": "https://x"}, "url"),
        (webhook("slack", secret_env="X"), "slack has no signature"),
        (email(25, host="mail.example.org", user_env="U", password_env="P"), "a password needs"),
        (email(25, user_env="U"), "go together"),
        ({"type": "pigeon"}, "pigeon"),
    ],
)
def test_mistakes_in_the_config_are_named(tmp_path, capsys, channel, words):
    path = write_config(tmp_path, channels=[channel])
    assert main.main(["--config", str(path), "alerts", "test"]) == 2
    assert words in capsys.readouterr().err


def test_what_stops_a_run_before_its_first_node_is_told(hook, tmp_path, monkeypatch):
    import datetime

    server = hook()
    monkeypatch.setenv(URL_ENV, server.url)
    loaded = loader.load(write_config(tmp_path, channels=[webhook()])).config
    said: list[str] = []
    day = datetime.date(2026, 11, 15)
    for error, event in (
        (DataNotReadyError("dt=2026-11-15 is missing", hint="wait"), "late"),
        (LockHeldError("x"), None),
    ):
        count = len(server.requests)
        with pytest.raises(type(error)), publish.failures_told(loaded, day, said.append):
            raise error
        assert [body["event"] for body in server.bodies()[count:]] == ([event] if event else [])
    assert server.bodies()[0]["reason"] == "dt=2026-11-15 is missing" and said == []


def test_bucket_that_does_not_answer_is_told_though_the_alerts_memory_is_in_it(hook, tmp_path, monkeypatch):
    import datetime

    server = hook()
    monkeypatch.setenv(URL_ENV, server.url)
    path = write_config(tmp_path, channels=[webhook()])
    loaded = loader.load(path, ["root=s3://bucket/hivemill"])

    def silent(root):
        raise InfrastructureError(f"{root}/runs cannot be listed: nobody answers")

    monkeypatch.setattr(object_root, "folder_of", silent)
    told = pytest.raises(InfrastructureError, match="nobody answers")
    with told, publish.failures_told(loaded.config, datetime.date(2026, 11, 15), print):
        loaded.config.root_path()
    with told:
        stepwise_run.end(loaded, "job-1", Console())
    reasons = [body["reason"] for body in server.bodies()]
    assert reasons == ["s3://bucket/hivemill/runs cannot be listed: nobody answers"] * 2


def test_the_title_of_each_event():
    summary = messages.of_test("shop").summary
    titles = {event: messages.Alert(event, summary, "k").title for event in ("late", "overrun", "recovery", "test")}
    assert titles["late"].startswith("Late data") and titles["recovery"].startswith("Recovered")
