"""Every package that `requirements.txt` brings, and the known weaknesses of none of them, as `pip-audit` knows them.

Needs `pip install pip-audit` and its database; without them the versions are listed, for other ways of looking them up.
"""

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
MINUTES = 1


def brought(requirements: list[str]) -> dict[str, str]:
    """Installed versions by name, of the packages required and of all that these require themselves."""
    versions: dict[str, str] = {}
    seen, waiting = set(), [Requirement(line) for line in requirements]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if (name, frozenset(one.extras)) in seen:
            continue
        seen.add((name, frozenset(one.extras)))
        found = metadata.distribution(name)
        versions[name] = found.version
        further = [Requirement(line) for line in found.requires or []]
        extras = one.extras or {""}
        waiting += [x for x in further if x.marker is None or any(x.marker.evaluate({"extra": e}) for e in extras)]
    return dict(sorted(versions.items()))


def audited(versions: dict[str, str]) -> dict[str, list[str]]:
    """Names of known weaknesses by package, for those that pip-audit's database knows; empty where it knows none."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text("\n".join(f"{name}=={version.partition('+')[0]}" for name, version in versions.items()))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-f", "json", "-r", pinned]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)["dependencies"]
    except ValueError:  # no pip-audit, or no network
        return {}
    return {one["name"]: [x["id"] for x in one["vulns"]] for one in report if "vulns" in one}


def run() -> None:
    versions = brought((ROOT / "requirements.txt").read_text().splitlines())
    known = audited(versions)
    print(f"{len(versions)} packages, {len(known)} of them audited")
    unknown = [f"{name} {version}" for name, version in versions.items() if name not in known]
    if unknown:
        print(f"not audited: {', '.join(unknown)}")
    weak = {name: found for name, found in known.items() if found}
    assert not weak, weak
