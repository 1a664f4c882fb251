"""How a run ended, in words: the headline, what was pushed, why a part of the page is empty. No HTML here."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from hivemill.pipeline.documents import verdict_summary
from hivemill.pipeline.documents.run_documents import Run, RunDocuments

COLOUR_WORDS = {**verdict_summary.WORDS, "running": "Running", "grey": "Unknown"}
_SYMBOLS = {**verdict_summary.SYMBOLS, "running": "…", "grey": "?"}


@dataclass(frozen=True)
class Headline:
    """The verdict in one line. `colour` is a CSS class, `word` and `symbol` say the same without colour."""

    colour: str
    title: str
    reason: str
    hint: str | None
    exit_code: int | None

    @property
    def word(self) -> str:
        return COLOUR_WORDS[self.colour]

    @property
    def symbol(self) -> str:
        return _SYMBOLS[self.colour]


def headline(folder: RunDocuments) -> Headline:
    """The verdict's own words where there is a verdict, else those of the run, else that neither is there."""
    run, verdict = folder.run, folder.verdict
    error = run.error if run else None
    code = next((one.exit_code for one in (verdict, run) if one and one.exit_code is not None), None)
    hint = error.hint if error else None
    if verdict and not (run and run.state == "running"):
        colour = verdict.colour if verdict.colour in COLOUR_WORDS else "grey"
        reason = verdict.reason or (error.message if error else "no reason was recorded")
        return Headline(colour, _title(colour, code, folder), reason, hint, code)
    if run is None:
        reason = folder.problems.get("run.json", "run.json is not in the run folder: no run was recorded here")
        return Headline("grey", "Unknown: the run left no record", reason, None, None)
    if run.state == "running":
        return _unfinished(run)
    if run.state == "succeeded":
        reason = "verdict.json is not there, so nothing says whether the model is good"
        return Headline("amber", "Finished without a verdict", reason, hint, code)
    reason = error.message if error else f"the run ended in state {run.state!r} and recorded no error"
    return Headline("red", _title("red", code, folder), reason, hint, code)


def _title(colour: str, code: int | None, folder: RunDocuments) -> str:
    return verdict_summary.title_of(colour, code, pushed_version(folder))


def exit_words(folder: RunDocuments) -> str:
    """What the exit code means, for readers who do not know the table in docs/cli.md."""
    code = headline(folder).exit_code
    if code is None:
        return "the run recorded no end"
    return "done" if code == 0 else verdict_summary.TITLES.get(code, "failed").partition(": ")[2] or "failed"


def _unfinished(run: Run) -> Headline:
    if has_died(run):
        reason = f"process {run.pid} on {run.host} is gone and recorded no end: it was killed, or the machine restarted"
        return Headline("red", "Killed before it finished", reason, "Start the same run again: it resumes.", None)
    return Headline("running", "Not finished", f"process {run.pid} on {run.host} had not recorded an end", None, None)


def has_died(run: Run) -> bool:
    """True where the run's process is known to be gone; another host's processes cannot be seen from here."""
    if run.pid is None or run.host != socket.gethostname():
        return False
    try:
        os.kill(run.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def pushed_version(folder: RunDocuments) -> int | None:
    """The model version that this run pushed; None where it pushed none."""
    model = folder.verdict.model if folder.verdict else None
    if folder.run and folder.run.model_version is not None:
        return folder.run.model_version
    return model.version if model and model.blessed else None


def why_absent(folder: RunDocuments, name: str, section: object) -> str | None:
    """Why a section of the page has nothing to show; None where it has. `name` is the file that it comes from."""
    if section:
        return None
    if name in folder.problems:
        return f"{name} could not be used: {folder.problems[name]}."
    run = folder.run
    if run is None:
        return f"{name} is not there, and no run.json says why."
    if run.state == "running":
        return "The run was killed before this point." if has_died(run) else "The run has not come to this point yet."
    failed = next((node.node_id for node in run.nodes if node.state == "failed"), None)
    if failed:
        return f"The run stopped at {failed}, before this was written."
    if run.state == "failed":
        return "The run stopped before this was written."
    return f"The run recorded nothing here ({name})."
