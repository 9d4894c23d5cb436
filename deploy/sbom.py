"""Writes the software bill of materials of the production build as CycloneDX 1.6.

The components are the crates that Cargo builds for it, with their versions, licences, checksums and dependencies. Needs the
package `cyclonedx-python-lib[json-validation]`; `scripts/release` calls it.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def built(target, features):
    """Returns the crates that are linked into the program or run while it is built, by name and version.

    `cargo metadata` resolves the features of the whole workspace together, so that it has more.
    """
    arguments = ["tree", "--locked", "--package", "kebne", "--target", target, "--no-default-features", "--features", features]
    lines = cargo(*arguments, "--edges", "normal,build", "--prefix", "none", "--no-dedupe")
    return set(re.findall(r"^(\S+) v(\S+)", lines, re.M))


def component(package, checksum, root):
    name, version = package["name"], package["version"]
    licence = package["license"] and re.sub(r"\s*/\s*", " OR ", package["license"])
    return Component(
        type=ComponentType.APPLICATION if root else ComponentType.LIBRARY,
        name=name,
        version=version,
        description=package["description"] and " ".join(package["description"].split()),
        bom_ref=f"{name}@{version}",
        licenses=[LicenseExpression(licence)] if licence else [],
        # Crates of this repository are not published.
        purl=PackageURL("cargo", None, name, version) if package["source"] else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
    )


def bill(target, features):
    names = built(target, features)
    resolved = json.loads(cargo("metadata", "--format-version", "1", "--locked", "--filter-platform", target, "--all-features"))
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(each["name"], each["version"]): each.get("checksum") for each in lock}
    components, root = {}, None
    for package in resolved["packages"]:
        name = package["name"], package["version"]
        if name in names:
            is_root = package["name"] == "kebne"
            components[package["id"]] = component(package, checksums[name], is_root)
            root = components[package["id"]] if is_root else root
    if len(components) != len(names):
        sys.exit(f"sbom: {len(names)} crates are built, {len(components)} are described")
    # The same commit gives the same bytes: the time is the commit's, and the serial number is derived from what is described.
    described = "\n".join([target, features, *sorted(f"{name}@{version}" for name, version in names)])
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, described))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    bom.metadata.component = root
    bom.components.update(each for each in components.values() if each is not root)
    for node in resolved["resolve"]["nodes"]:
        if node["id"] in components:
            needed = [each["pkg"] for each in node["deps"] if {kind["kind"] for kind in each["dep_kinds"]} - {"dev"}]
            bom.register_dependency(components[node["id"]], [components[each] for each in needed if each in components])
    return bom


target, features, path = sys.argv[1:]
text = make_outputter(bill(target, features), OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
    sys.exit(f"sbom: {fault}")
pathlib.Path(path).write_text(text + "\n")
