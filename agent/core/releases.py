"""Releases of linkerd2-proxy: which version a file is, and which of them serve a host (docs/linkerd.md §0.10,
§1.6, §10)."""

import re

Version = tuple[int, int, int]

NAME = "linkerd2-proxy"
_NUMBER = r"v?(\d+\.\d+\.\d+)"
_BUILD_LINE = re.compile(rf"linkerd2_proxy: release {_NUMBER}\b")
# In the name of a release's file or folder: linkerd2-proxy-v2.366.0-linux-amd64.tar.gz
_IN_NAME = re.compile(rf"{NAME}-{_NUMBER}(?:[-.]|$)")
_INSTALLED = re.compile(rf"/proxy/(\d+\.\d+\.\d+)/{NAME}$")

UNCERTAIN = "0.0.0"  # what a binary that was built by hand says of itself


def number(text: str) -> str:
    """ "v2.366.0" → "2.366.0"; "" where it is no version."""
    match = re.fullmatch(_NUMBER, text.strip())
    return match[1] if match else ""


def parse(version: str) -> Version:
    first, second, third = map(int, version.split("."))
    return first, second, third


def in_build_line(log: str) -> str:
    """The version that a binary reports at its start; "" if it reports none."""
    match = _BUILD_LINE.search(log)
    return "" if match is None or match[1] == UNCERTAIN else match[1]


def in_name(name: str) -> str:
    match = _IN_NAME.search(name)
    return match[1] if match else ""


def installed(path: str) -> str:
    """The version of a binary that was installed at that path; "" for one that lies elsewhere."""
    match = _INSTALLED.search(path)
    return match[1] if match else ""


def refused(version: str) -> str:
    """Why a host cannot use it; "" if it can."""
    if parse(version) < (2, 220, 0):
        return "it knows no SPIFFE Workload API; 2.220.0 is the first that does"
    if (2, 329, 0) <= parse(version) < (2, 331, 0):
        return "it cannot use SPIRE (linkerd2 #14730); 2.331.0 is the next that can"
    return ""


def warned(version: str) -> str:
    """A warning about it; "" if there is none."""
    if parse(version) < (2, 346, 0):
        return (
            "after an outage of the control plane its workers may die, and it then fails every request until "
            "it is restarted (linkerd2 #14954); 2.346.0 is better"
        )
    return ""


def checksum(text: str, name: str) -> str:
    """The SHA-256 of that file in a list (of `sha256sum`); "" if the list does not contain it. A list of one line
    without a file name counts for any file."""
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    for words in lines:
        named = words[1].lstrip("*").rsplit("/", 1)[-1].strip() if len(words) > 1 else name
        if named == name and (len(words) > 1 or len(lines) == 1) and is_digest(words[0].lower()):
            return words[0].lower()
    return ""


def is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None
