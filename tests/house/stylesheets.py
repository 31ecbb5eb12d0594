"""Classes in stylesheets and in markup, for tests about styles."""

import re

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
SELECTORS = re.compile(r"[^{};]+(?=\{)")
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
ATTRIBUTE = re.compile(r"""class="(.*?)"(?=[\s/>{]|$)""", re.DOTALL)


def defined(css: str) -> set[str]:
    """Return the classes for which a stylesheet has rules."""
    return set(CLASS.findall(" ".join(SELECTORS.findall(COMMENT.sub("", css)))))
