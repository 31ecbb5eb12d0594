"""The software bill of materials: every locked component in CycloneDX."""

from collections.abc import Iterable

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as Part
from cyclonedx.model.component import ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from peyvand.dependencies.locked import Component

ALGORITHMS = {"sha256": HashAlgorithm.SHA_256, "sha512": HashAlgorithm.SHA_512}
TYPES = {"docker": ComponentType.CONTAINER, "bitnami": ComponentType.APPLICATION}


def sbom(components: Iterable[Component]) -> str:
    """Return the bill of materials as CycloneDX 1.6 in JSON."""
    document = Bom(components=[_part(each) for each in components])
    document.metadata.component = Part(name="peyvand", version="0.1.0", type=ComponentType.APPLICATION)
    document.register_dependency(document.metadata.component, document.components)
    return JsonV1Dot6(document).output_as_string(indent=2)


def schema_error(document: str) -> str:
    """Return how a document violates the schema of CycloneDX 1.6; empty if it is valid."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document)
    return "" if error is None else str(error)


def _part(component: Component) -> Part:
    hashes = [each.split(":") for each in component.hashes]
    return Part(
        name=component.name,
        version=component.version,
        type=TYPES.get(component.type, ComponentType.LIBRARY),
        purl=PackageURL.from_string(component.url),
        bom_ref=f"{component.url}?lock={component.lock}",
        hashes=[HashType(alg=ALGORITHMS[algorithm], content=digest) for algorithm, digest in hashes],
        licenses=[LicenseFactory().make_from_string(component.licence)] if component.licence else [],
        properties=[
            Property(name="peyvand:lock", value=component.lock),
            Property(name="peyvand:use", value="development" if component.is_for_development else "production"),
        ],
    )
