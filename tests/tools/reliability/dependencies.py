"""Check that `pip-audit` knows no vulnerability of the packages that `requirements.txt` installs.

This needs `pip install pip-audit` and its database. Without them, the check lists the versions for a search elsewhere.
"""

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.reliability import ROOT

MINUTES = 1


def installed_versions(requirements: list[str]) -> dict[str, str]:
    """Return the installed version by name, of the required packages and of all packages that these require."""
    versions: dict[str, str] = {}
    visited, queue = set(), [Requirement(line) for line in requirements]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in visited:
            continue
        visited.add((name, frozenset(requirement.extras)))
        package = metadata.distribution(name)
        versions[name] = package.version
        extras = requirement.extras or {""}
        for line in package.requires or []:
            further = Requirement(line)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(further)
    return dict(sorted(versions.items()))


def audit(versions: dict[str, str]) -> dict[str, list[str]]:
    """Return the ids of known vulnerabilities by package, of the packages in pip-audit's database.

    The result is empty without pip-audit or without network.
    """
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text("\n".join(f"{name}=={version.partition('+')[0]}" for name, version in versions.items()))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-f", "json", "-r", pinned]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return {}
    return {row["name"]: [vulnerability["id"] for vulnerability in row["vulns"]] for row in report if "vulns" in row}


def run() -> None:
    versions = installed_versions((ROOT / "requirements.txt").read_text().splitlines())
    audited = audit(versions)
    print(f"{len(versions)} packages, {len(audited)} of them audited")
    if unknown := [f"{name} {version}" for name, version in versions.items() if name not in audited]:
        print(f"not audited: {', '.join(unknown)}")
    vulnerable = {name: ids for name, ids in audited.items() if ids}
    assert not vulnerable, vulnerable
