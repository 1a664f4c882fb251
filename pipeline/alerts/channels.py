"""One try to send one alert through one channel. What is raised names no secret: no address, no password, no answer."""

from __future__ import annotations

import json
import smtplib
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from hivemill.common.storage.atomic import fingerprint
from hivemill.pipeline.alerts import messages
from hivemill.pipeline.alerts.messages import Alert
from hivemill.pipeline.alerts.options import CommandChannel, EmailChannel, WebhookChannel

_MAX_ANSWER_BYTES = 1 << 16
_TOO_MANY_REQUESTS = 429
_TOO_OFTEN = (9499, 11232, 45009, 130101)  # Feishu's two, WeCom's and DingTalk's codes for a rate limit
_AGAIN_LATER = tuple(f"the answer has error code {code}" for code in _TOO_OFTEN)


class DeliveryError(Exception):
    """Why an alert was not delivered; `is_final` where another try would fail alike."""

    def __init__(self, message: str, is_final: bool = False):
        super().__init__(message)
        self.is_final = is_final


def name_of(channel: WebhookChannel | EmailChannel | CommandChannel) -> str:
    """What run.json calls the channel: `slack (ALERT_URL)`, `email (mail.example)`, `command (notify)`."""
    if isinstance(channel, WebhookChannel):
        return f"{channel.preset} ({channel.url_env})"
    if isinstance(channel, EmailChannel):
        return f"email ({channel.host})"
    return f"command ({channel.command[0]})"


def key_of(channel: WebhookChannel | EmailChannel | CommandChannel) -> str:
    """What alerts.json calls the channel: two mails by one server have one name, but not one key."""
    return f"{name_of(channel)} {fingerprint(channel.model_dump(mode='json', exclude={'events'}))[:8]}"


def send(
    channel: WebhookChannel | EmailChannel | CommandChannel,
    alert: Alert,
    environment: Mapping[str, str],
    timeout: float,
) -> None:
    """Raises DeliveryError."""
    if isinstance(channel, WebhookChannel):
        _post(channel, alert, environment, timeout)
    elif isinstance(channel, EmailChannel):
        _mail(channel, alert, environment, timeout)
    else:
        _run(channel, alert, timeout)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An address is a secret; whoever answers may not send it, or the message, somewhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(channel: WebhookChannel, alert: Alert, environment: Mapping[str, str], timeout: float) -> None:
    url, secret, now = _value(channel.url_env, environment), _optional(channel.secret_env, environment), time.time()
    payload = json.dumps(messages.body(channel.preset, alert, secret, now), ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "hivemill"}
    if channel.preset == "generic" and secret:
        headers["X-Hivemill-Signature"] = messages.signature(payload, secret)
    if not url.startswith(("https://", "http://")):
        raise DeliveryError(f"{channel.url_env} holds no http(s) address", is_final=True)
    try:
        request = urllib.request.Request(messages.address(channel.preset, url, secret, now), payload, headers)
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout) as answer:
            text = answer.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        is_final = error.code < 500 and error.code not in (408, _TOO_MANY_REQUESTS)
        raise DeliveryError(f"the server answered HTTP {error.code}", is_final) from None
    except (OSError, ValueError) as error:  # no route, refused, timed out, certificate; an address that is none
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"no connection ({type(reason).__name__})", isinstance(error, ValueError)) from None
    problem = messages.refused(channel.preset, _parsed(text))
    if problem:
        raise DeliveryError(problem, is_final=problem not in _AGAIN_LATER)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _mail(channel: EmailChannel, alert: Alert, environment: Mapping[str, str], timeout: float) -> None:
    user, password = _optional(channel.user_env, environment), _optional(channel.password_env, environment)
    message = _message(channel, alert)
    context = ssl.create_default_context()
    try:
        with _connection(channel, timeout, context) as server:
            if channel.security == "starttls":
                server.starttls(context=context)
            if user is not None and password is not None:
                server.login(user, password)
            server.send_message(message)
    except smtplib.SMTPResponseException as error:  # the text may repeat what was sent, the code does not
        raise DeliveryError(f"the mail server answered {error.smtp_code}", error.smtp_code >= 500) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise DeliveryError(f"the mail server refused all recipients: {codes}", min(codes) >= 500) from None
    except smtplib.SMTPNotSupportedError:
        raise DeliveryError("the mail server offers no starttls, or no login", is_final=True) from None
    except (OSError, smtplib.SMTPException) as error:
        raise DeliveryError(f"no connection ({type(error).__name__})") from None


def _connection(channel: EmailChannel, timeout: float, context: ssl.SSLContext) -> smtplib.SMTP:
    if channel.security == "tls":
        return smtplib.SMTP_SSL(channel.host, channel.port, timeout=timeout, context=context)
    return smtplib.SMTP(channel.host, channel.port, timeout=timeout)


def _message(channel: EmailChannel, alert: Alert) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = " ".join(f"[hivemill] {alert.title}, {alert.summary.date}".split())
    message["From"], message["To"] = channel.sender, ", ".join(channel.to)
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="hivemill")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content("\n".join(alert.lines()) + "\n")
    return message


def _run(channel: CommandChannel, alert: Alert, timeout: float) -> None:
    document = json.dumps(alert.document(), ensure_ascii=False)
    try:
        done = subprocess.run(
            channel.command, input=document.encode(), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"the command did not end within {timeout:g} s") from None
    except OSError as error:
        raise DeliveryError(f"the command cannot be started: {error.strerror}", is_final=True) from None
    if done.returncode:
        raise DeliveryError(f"the command ended with exit code {done.returncode}")


def _value(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise DeliveryError(f"environment variable {name} is not set", is_final=True)
    return value


def _optional(name: str | None, environment: Mapping[str, str]) -> str | None:
    return None if name is None else _value(name, environment)
