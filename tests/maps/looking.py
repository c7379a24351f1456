"""Parts of the page that its tests look at."""

from __future__ import annotations

WORDS = ["So", " 12", "+", "30", " is", "\n\n", " 42", "."]


def tokens(page):
    """Tokens of the response."""
    return page.locator("#tokens [role=option]")


def value(page, name):
    """Text of one number in the token's panel."""
    return page.locator(f"#record dd[data-name={name}]").inner_text()
