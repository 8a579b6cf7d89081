"""Releases that this package is known to work with, told where a check fails.

What pyproject allows was tested; what came out later was not. A model that breaks a promise under
such a release is more likely to be the release's doing than the model's.
"""

from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

BENEATH = ("transformers", "transformer-lens", "torch", "tokenizers")
"""What hook names rest on."""


def known_to_work() -> dict[str, SpecifierSet]:
    """Ranges by package, as this package's own metadata has them; none without an installation."""
    try:
        lines = metadata.requires("interp") or []
    except metadata.PackageNotFoundError:
        return {}
    requirements = map(Requirement, lines)
    return {r.name: r.specifier for r in requirements if r.name in BENEATH and r.marker is None}


def installed() -> dict[str, str]:
    """Versions of what hook names rest on."""
    return {name: metadata.version(name) for name in BENEATH}


def unknown_releases() -> list[str]:
    """A sentence for each installed release outside of the range that is known to work."""
    ranges, versions = known_to_work(), installed()
    return [
        f"{name} {versions[name]} is installed, and {name}{ranges[name]} is known to work: "
        f"pip install '{name}{ranges[name]}'"
        for name in ranges
        if not ranges[name].contains(versions[name], prereleases=True)
    ]


def advice() -> str:
    """What to say of releases beside a failure: those that are unknown, else all versions."""
    if unknown := unknown_releases():
        return "\n".join(unknown)
    return "installed: " + ", ".join(f"{name} {version}" for name, version in installed().items())
