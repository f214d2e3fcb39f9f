"""What is inside a package, as CycloneDX 1.5: for scanners that look for known vulnerabilities."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import wheels
from interpreter import Part

# Names the document's own identifiers: the same contents have the same ones.
_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "fairlead.dev")


def document(version: str, time: str, architecture: str, parts: Sequence[Part], tree: Path) -> str:
    """`parts`: what the interpreter and its libraries were made of. `tree`: the wheels."""
    found = [*map(_part, parts), *(_wheel(*one) for one in wheels.names(tree))]
    own = {"type": "application", "name": "fairlead", "version": version, "bom-ref": f"fairlead@{version}"}
    text = json.dumps(found, sort_keys=True)
    told = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, version + architecture + text)}",
        "version": 1,
        "metadata": {"timestamp": time, "component": {**own, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": found,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [one["bom-ref"] for one in found]}],
    }
    return json.dumps(told, indent=1) + "\n"


def _part(part: Part) -> dict[str, Any]:
    """By its source package, for which Debian publishes vulnerabilities."""
    link = f"pkg:deb/debian/{quote(part.name)}@{quote(part.version)}"
    return {"type": "library", "name": part.name, "version": part.version, "purl": link, "bom-ref": link}


def _wheel(name: str, version: str, licence: str) -> dict[str, Any]:
    link = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    licences = [{"license": {"name": licence}}]
    return {
        "type": "library",
        "name": name,
        "version": version,
        "licenses": licences,
        "purl": link,
        "bom-ref": link,
    }
