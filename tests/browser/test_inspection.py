"""What the checks of the crawl find in a page with mistakes."""

from __future__ import annotations

from playwright.sync_api import BrowserContext

from tests.support.browser.inspection import Inspector

DARK_ON_DARK = """
<!doctype html><html lang="en"><title>Mistakes</title><meta name="viewport" content="width=device-width">
<style>
  body { background: #fff; color: #000; }
  @media (prefers-color-scheme: dark) { body { background: #000; color: #fff; } p { color: #111; } }
  @media (max-width: 500px) { .wide { display: none; } }
  @media (min-width: 501px) { .narrow { display: none; } }
</style>
<main id="content"><h1>Mistakes</h1><p>always</p><p class="wide">wide</p><p class="narrow">narrow</p></main>
"""


def test_dark_colours_are_checked_for_texts_of_each_width(context: BrowserContext) -> None:
    inspector = Inspector(context)
    inspector.page.set_content(DARK_ON_DARK)

    inspector.check("mistakes")

    assert inspector.errors == [
        'mistakes: dark, narrow: color-contrast (2): <p>always</p> | <p class="narrow">narrow</p>',
        'mistakes: dark: color-contrast (1): <p class="wide">wide</p>',
    ]
