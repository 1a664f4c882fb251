"""Builds the Dockerfile's image without a container engine, in roots made with debootstrap, and tries it.

Reads the Dockerfile itself and carries out its FROM, RUN, COPY, ENV, USER and WORKDIR, so that the check cannot drift
from the file. Then, as the image's user and without any network: the version, the imports of the whole stack, and with
--demo a run from a generated log to a pushed model. Needs Linux, root, debootstrap, util-linux and iproute2.

    sudo python3 deploy/check_image.py --work /var/tmp/image --demo
    sudo python3 deploy/check_image.py --work /var/tmp/ubuntu --demo --base ubuntu:24.04   # Python 3.12, not 3.13

A finished stage is used again while its instructions and the files that it copies are the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dockerfile_steps import CheckFailed, Instruction, Stage, copied_by, copy_words, parse_dockerfile
from image_base import Base, known_bases

REPOSITORY = Path(__file__).resolve().parent.parent
BASE_ARGUMENT = "DEBIAN"
_DONE = ".done"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_STACK = """
import hivemill.common.runtime; hivemill.common.runtime.prepare_tensorflow()
import importlib, importlib.metadata as m, os, sys
for name in ("tensorflow", "tf_keras", "ml_metadata", "tensorflow_data_validation", "tensorflow_transform",
             "tensorflow_model_analysis", "tfx.types.standard_artifacts", "apache_beam", "pyarrow.orc",
             "pyarrow.parquet", "hivemill.pipeline", "hivemill.components", "hivemill.serving",
             "hivemill.data", "hivemill.schema"):
    importlib.import_module(name)
assert os.getuid() != 0, "the image runs as root"
assert m.version("ml-metadata") == m.version("tensorflow-data-validation") == m.version("tfx") == "1.21.0"
print("Python", sys.version.split()[0], *(f"{n} {m.version(n)}" for n in
      ("tfx", "tensorflow-cpu", "ml-metadata", "tensorflow-data-validation", "apache-beam", "pyarrow")))
"""
_DEMO = """
demo=$(mktemp -d) && trap 'rm -rf "$demo"' EXIT && hivemill init "$demo/demo" &&
hivemill --config "$demo/demo/hivemill.yaml" run --date {date}
"""


@dataclasses.dataclass
class State:
    """What instructions change for the ones after them."""

    environment: dict[str, str]
    folder: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Host:
    """What a build on this machine gets beside the Dockerfile: name service, certificates, package index, proxies."""

    environment: dict[str, str]
    mounts: dict[Path, str]


class ImageCheck:
    """The roots of the stages below `work`, one folder per stage, with the state that each ended in."""

    def __init__(self, context: Path, work: Path, bases: Mapping[str, Base], base: str | None = None):
        self.context, self.work, self.bases = context, work, bases
        given = {BASE_ARGUMENT: base} if base else {}
        self.stages = parse_dockerfile((context / "Dockerfile").read_text(encoding="utf-8"), given)
        self.allowed = copied_by(context / ".dockerignore")
        self.keys: dict[str, str] = {}
        self.states: dict[str, State] = {}
        self.host = _host(work)

    def build(self) -> Path:
        """Carries out every stage; returns the last one's root."""
        for stage in self.stages:
            self._build_stage(stage)
        return self.root(self.stages[-1].name)

    def root(self, name: str) -> Path:
        return self.work / name.replace(":", "-").replace("/", "-")

    def run(self, command: Sequence[str], *, network: bool = False) -> None:
        """Runs a command in the finished image, as its user, in its folder; by default without a network."""
        name = self.stages[-1].name
        self._enter(self.root(name), self.states[name], command, network=network, building=False)

    def _build_stage(self, stage: Stage) -> None:
        base_key = self._base(stage.base)
        key = hashlib.sha256(json.dumps([base_key, *map(self._content, stage.instructions)]).encode()).hexdigest()
        self.keys[stage.name] = key
        self.states[stage.name] = state = dataclasses.replace(
            self.states[stage.base], environment=dict(self.states[stage.base].environment)
        )
        reuse = _is_done(self.root(stage.name), key)
        _say(f"stage {stage.name}" + (": as it was, used again" if reuse else f" from {stage.base}"))
        if not reuse:
            self._start_root(self.root(stage.name), self.root(stage.base))
        for one in stage.instructions:
            self._carry_out(one, self.root(stage.name), state, skip=reuse)
        if not reuse:
            (self.root(stage.name).with_suffix(_DONE)).write_text(key)

    def _base(self, name: str) -> str:
        """The key of a base: a stage that is built by now, or a system from debootstrap."""
        if name in self.keys:
            return self.keys[name]
        if name not in self.bases:
            raise CheckFailed(f"FROM {name}: this check knows {', '.join(self.bases)} and the stages above it only")
        root, base = self.root(name), self.bases[name]
        if base.keyring and not Path(base.keyring).is_file():
            raise CheckFailed(
                f"no {base.keyring}, which {base.suite} is signed with (package ubuntu-keyring; --keyring)"
            )
        key = f"debootstrap {base.suite} {base.mirror}"
        self.states[name], self.keys[name] = State(dict(_ENVIRONMENT)), key
        if not _is_done(root, key):
            _say(f"debootstrap {base.suite} from {base.mirror}")
            self._start_root(root, None)
            _call(base.command(root))
            root.with_suffix(_DONE).write_text(key)
        return key

    def _start_root(self, root: Path, base: Path | None) -> None:
        root.with_suffix(_DONE).unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        if base:
            _call(["cp", "-a", "--reflink=auto", str(base), str(root)])

    def _content(self, one: Instruction) -> list[str]:
        """An instruction and what it depends on: the files or the stage that a COPY takes from."""
        if one.name != "COPY":
            return [one.name, one.text]
        options, sources, _ = copy_words(one)
        if "from" in options:
            return [one.text, self.keys[options["from"]]]
        return [one.text, *(_digest(self._source(source, one)) for source in sources)]

    def _carry_out(self, one: Instruction, root: Path, state: State, skip: bool) -> None:
        if one.name == "ENV":
            for word in shlex.split(one.text):
                key, _, value = word.partition("=")
                state.environment[key] = value
        elif one.name == "USER":
            state.user = one.text
            state.environment["HOME"] = _home(root, one.text)
        elif one.name == "WORKDIR":
            state.folder = os.path.join(state.folder, one.text)
            _inside(root, state.folder).mkdir(parents=True, exist_ok=True)
        elif one.name == "ENTRYPOINT":
            state.entrypoint = tuple(json.loads(one.text))
        elif one.name == "RUN" and not skip:
            _say(f"  {one.line}: RUN {one.text[:90]}")
            self._enter(root, state, ["/bin/sh", "-c", one.text], network=True, building=True)
        elif one.name == "COPY" and not skip:
            _say(f"  {one.line}: COPY {one.text}")
            self._copy(one, root, state)

    def _copy(self, one: Instruction, root: Path, state: State) -> None:
        options, sources, target = copy_words(one)
        into = _inside(root, os.path.join(state.folder, target))
        many = len(sources) > 1 or target.endswith("/")
        for source in sources:
            place = _inside(self.root(options["from"]), source) if "from" in options else self._source(source, one)
            goal = into / place.name if many or (into.is_dir() and place.is_file()) else into
            goal.parent.mkdir(parents=True, exist_ok=True)
            if place.is_file():
                shutil.copy2(place, goal)
            elif "from" in options:
                _call(["cp", "-a", "--no-target-directory", str(place), str(goal)])
            else:
                shutil.copytree(
                    place, goal, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
                )

    def _source(self, source: str, one: Instruction) -> Path:
        place = self.context / source
        if source.split("/")[0] not in self.allowed and source != ".":
            raise CheckFailed(f"Dockerfile line {one.line}: {source} is not in .dockerignore's exceptions")
        if not place.exists():
            raise CheckFailed(f"Dockerfile line {one.line}: COPY {source}: no such file in {self.context}")
        return place

    def _enter(self, root: Path, state: State, command: Sequence[str], *, network: bool, building: bool) -> None:
        """Runs in the root, in namespaces of its own: what is mounted there vanishes with it, killed or not."""
        mounts = {Path("/dev"): "/dev", **(self.host.mounts if building else {})}
        environment = {**state.environment, **(self.host.environment if building else {})}
        script = ["set -e", f"mount -t proc proc {shlex.quote(str(root / 'proc'))}"]
        for source, target in mounts.items():
            place = _inside(root, target)
            script.append(f"mount --rbind {shlex.quote(str(source))} {shlex.quote(str(place))}")
            if source.is_file() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        if not network:
            script.append("ip link set lo up")
        user, _, group = state.user.partition(":")
        words = ["chroot", f"--userspec={user}:{group or user}", "--groups=", str(root), "/usr/bin/env", "-i"]
        words += [f"{key}={value}" for key, value in environment.items()]
        words += ["/bin/sh", "-c", 'cd "$0" && exec "$@"', state.folder, *command]
        script.append("exec " + " ".join(map(shlex.quote, words)))
        namespaces = ["--mount", "--pid", "--fork", "--kill-child"] + ([] if network else ["--net"])
        _call(["unshare", *namespaces, "/bin/sh", "-c", "\n".join(script)])


def _digest(place: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(place)}\0{file.stat().st_mode}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _home(root: Path, user: str) -> str:
    """The home of a numeric user in the root's own passwd file, as Docker sets HOME."""
    number = user.partition(":")[0]
    for line in _inside(root, "/etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if number in (fields[0], fields[2]):
            return fields[5]
    return "/"


def _host(work: Path) -> Host:
    """Certificates, apt and pip settings of this machine, for build steps only; nothing of them stays in a root."""
    work.mkdir(parents=True, exist_ok=True)
    mounts = {Path("/etc/resolv.conf").resolve(): "/etc/resolv.conf"}
    environment = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    bundle = next((os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if os.environ.get(name)), None)
    if bundle and Path(bundle).is_file():
        inside = "/run/host/certificates.pem"
        mounts[Path(bundle).resolve()] = inside
        environment |= {name: inside for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")}
    index = os.environ.get("PIP_INDEX_URL") or _output(["pip", "config", "get", "global.index-url"])
    if index:
        environment["PIP_INDEX_URL"] = index
    settings = _output(["apt-config", "dump", "Acquire"])
    if settings:
        (work / "apt.conf").write_text(settings + "\n")
        mounts[work / "apt.conf"] = "/run/host/apt.conf"
        environment["APT_CONFIG"] = "/run/host/apt.conf"
    return Host(environment, mounts)


def _is_done(root: Path, key: str) -> bool:
    mark = root.with_suffix(_DONE)
    return root.is_dir() and mark.is_file() and mark.read_text() == key


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        raise CheckFailed(f"exit status {done.returncode} of: {' '.join(command)[-600:]}")


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def size_bytes(root: Path) -> int:
    """Bytes of all files below a root, as `docker images` counts an image uncompressed."""
    return int(
        _output(["du", "--summarize", "--apparent-size", "--one-file-system", "--block-size=1", str(root)]).split()[0]
    )


def missing_tools() -> list[str]:
    """What this machine lacks for the check."""
    lacking = [tool for tool in ("debootstrap", "unshare", "chroot", "ip", "cp") if shutil.which(tool) is None]
    return lacking + ([] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["root"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, tries, and prints one JSON line with the image's size; 0 when all of it worked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where the roots are made and kept; a temporary folder otherwise")
    parser.add_argument("--context", type=Path, default=REPOSITORY, help="the folder with the Dockerfile")
    parser.add_argument("--base", help="instead of the Dockerfile's: debian:trixie-slim or ubuntu:24.04")
    parser.add_argument("--mirror", help="mirror of the base (default: apt's for Debian, the archive for Ubuntu)")
    parser.add_argument("--keyring", help="Ubuntu's archive keyring, where it is not installed on this machine")
    parser.add_argument("--demo", action="store_true", help="also runs `hivemill init` and `hivemill run` in the image")
    parser.add_argument("--date", default="2026-11-15", help="date of the demo's run (%(default)s)")
    options = parser.parse_args(arguments)
    if lacking := missing_tools():
        print(f"check_image: this machine lacks {', '.join(lacking)}", file=sys.stderr)
        return 2
    work = options.work or Path(tempfile.mkdtemp(prefix="hivemill-image-", dir="/var/tmp"))
    try:
        bases = known_bases(options.mirror, options.keyring)
        check = ImageCheck(options.context, work.resolve(), bases, options.base)
        root = check.build()
        entry = check.states[check.stages[-1].name].entrypoint
        check.run([*entry, "--version"])
        check.run(["python", "-c", _STACK])
        check.run(["python", "-m", "apache_beam.runners.worker.worker_pool_main", "--help"])
        num_bytes = size_bytes(root)
        if options.demo:
            check.run(["/bin/sh", "-c", _DEMO.format(date=shlex.quote(options.date))])
        print(json.dumps({"name": "image", "bytes": num_bytes, "demo": options.demo, "root": str(root)}))
        return 0
    except CheckFailed as error:
        print(f"check_image: {error}", file=sys.stderr)
        return 1
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
