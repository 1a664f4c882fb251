"""Runs and the schedule on a Kubeflow Pipelines server (API v2beta1), through kfp's client."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3
from kfp import client

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.common.storage.atomic import fingerprint
from hivemill.pipeline.config.schema import PipelineConfig

Say = Callable[[str], None]
_CALL_SECONDS = 60.0
_POLL_SECONDS, _MAX_SILENT_SECONDS = 15.0, 600.0
_DONE = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_PAGE = 100
_SINGLE_USER = "kubeflow"  # kfp.Client's own default


class _Client(client.Client):
    """Asks once whether the server is there. kfp's own client asks five times, in 25 s, and logs five tracebacks."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> kfp_server_api.V2beta1GetHealthzResponse:
        return self._healthz_api.healthz_service_get_healthz()


class Service:
    """The server of `kubeflow.endpoint`. Raises ConfigError where there is none."""

    def __init__(self, config: PipelineConfig):
        self._config, self._options = config, config.kubeflow
        if self._options.endpoint is None:
            hint = "Set kubeflow.endpoint to the address of the Kubeflow Pipelines API; docs/kubeflow.md shows how."
            raise ConfigError("kubeflow.endpoint is needed", hint=hint)
        with self._translated("connect"):
            self._client = _Client(
                host=self._options.endpoint,
                existing_token=self._token(),
                namespace=self._options.namespace or _SINGLE_USER,
            )

    def submit(self, package: Path, date: str) -> str:
        """Starts one run of the compiled pipeline; returns its id, which is the job of `hivemill node`."""
        with self._translated("start a run"):
            run = self._client.run_pipeline(
                experiment_id=self._experiment(),
                job_name=f"{self._config.name} {date}",
                pipeline_package_path=str(package),
                params={"date": date},
                service_account=self._options.service_account,
            )
        return run.run_id

    def wait(self, run_id: str, say: Say, poll_seconds: float = _POLL_SECONDS) -> None:
        """Returns when the run has succeeded; says each new state. Raises InfrastructureError for any other end.

        A server that does not answer is asked again for ten minutes.
        """
        state, heard = None, time.monotonic()
        while state not in _DONE:
            try:
                with self._translated(f"read run {run_id}"):
                    found = self._client.get_run(run_id).state or "PENDING"
                heard = time.monotonic()
            except InfrastructureError as error:
                if time.monotonic() - heard > _MAX_SILENT_SECONDS:
                    raise
                found = state
                say(f"{error.message}; asked again")
            if found != state:
                say(f"Run {run_id}: {found}")
                state = found
            if state not in _DONE:
                time.sleep(poll_seconds)
        if state != "SUCCEEDED":
            hint = "Its last step says why; verdict and page are below runs/ on the volume."
            raise InfrastructureError(f"Kubeflow's run {run_id} ended as {state}", hint=hint)

    def schedule(self, package: Path, cron: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Creates the recurring run named like the pipeline, or replaces it where it differs.

        Kubeflow cannot change one: the new one is created first, so there is no moment without. Runs do not overlap
        (max_concurrency 1) and missed ones are not made up (no_catchup).

        Returns {recurring_run_id, state: unchanged|created|replaced, removed: [ids]}.
        """
        mark = f"hivemill {fingerprint(package.read_text(encoding='utf-8'), cron, parameters)}"
        with self._translated("set the schedule"):
            experiment = self._experiment()
            known = list(self._recurring_runs(experiment))
            current = [one for one in known if one.description == mark and one.status == "ENABLED"][:1]
            made = current or [self._created(experiment, package, cron, parameters, mark)]
            removed = [one.recurring_run_id for one in known if one.recurring_run_id != made[0].recurring_run_id]
            for recurring_run_id in removed:
                self._client.delete_recurring_run(recurring_run_id)
        state = "unchanged" if current and not removed else "replaced" if removed else "created"
        return {"recurring_run_id": made[0].recurring_run_id, "state": state, "removed": removed}

    def _created(self, experiment: str, package: Path, cron: str, parameters: dict[str, Any], mark: str) -> Any:
        return self._client.create_recurring_run(
            experiment_id=experiment,
            job_name=self._config.name,
            description=mark,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=parameters,
            pipeline_package_path=str(package),
            service_account=self._options.service_account,
        )

    def _recurring_runs(self, experiment: str) -> Iterator[Any]:
        """Those named like the pipeline, of all pages."""
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": self._config.name}
        token = ""
        while True:
            page = self._client.list_recurring_runs(
                page_token=token,
                page_size=_PAGE,
                experiment_id=experiment,
                filter=json.dumps({"predicates": [predicate]}),
            )
            yield from page.recurring_runs or ()
            token = page.next_page_token
            if not token:
                return

    def _experiment(self) -> str:
        return self._client.create_experiment(self._options.experiment, namespace=self._options.namespace).experiment_id

    def _token(self) -> str | None:
        variable = self._options.token_variable
        if variable is None:
            return None
        if not os.environ.get(variable):
            raise ConfigError(f"kubeflow.token_variable: the environment has no {variable}", hint="Set it to a token.")
        return os.environ[variable]

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        """The client's errors as ours, its prints to standard error, and no call that waits for ever."""
        saved = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_CALL_SECONDS)
        try:
            with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # "only works with v2.0.0-beta.2 and later", each time
                yield
        except kfp_server_api.ApiException as error:
            raise self._refused(action, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            hint = "Is kubeflow.endpoint right, and reachable from here (kubectl port-forward)?"
            message = f"{self._options.endpoint} does not answer (to {action}): {_last_reason(error)}"
            raise InfrastructureError(message, hint=hint) from error
        finally:
            socket.setdefaulttimeout(saved)

    def _refused(self, action: str, error: kfp_server_api.ApiException) -> InfrastructureError:
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            said = json.loads(error.body).get("message") or error.reason
            return InfrastructureError(self._words(action, error, said), hint=_hint(error.status))
        return InfrastructureError(self._words(action, error, error.reason), hint=_hint(error.status))

    def _words(self, action: str, error: kfp_server_api.ApiException, said: str) -> str:
        return f"{self._options.endpoint} refuses to {action} ({error.status}): {said}"


def _hint(status: int) -> str | None:
    if status in (401, 403):
        return "Set kubeflow.token_variable, kubeflow.namespace, and the rights of that account (deploy/kubeflow)."
    return "Is kubeflow.endpoint the address of the API, without /apis?" if status == 404 else None


def _last_reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
