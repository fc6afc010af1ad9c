"""Checks a page at four widths, in both themes, with axe, and for console errors.

Each page is loaded once; then its window is resized and its theme switched.
"""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import BrowserContext, Page

from tests.support.browser.layout import WIDTHS, layout_errors
from tests.support.browser.sign_in import BROWSER_TIMEOUT, WATCH

NARROW, WIDE = WIDTHS[0], WIDTHS[-1]
# Without preload, because axe preloads style sheets by inline styles, which the pages' CSP forbids.
# Colour transitions from one theme to the other are finished first.
# target-size belongs to WCAG 2.2, whose rules axe checks only when they are enabled.
RUN = """async ({rules, isRest}) => {
  for (const moving of document.getAnimations()) if (moving instanceof CSSTransition) moving.finish();
  const texts = [...document.body.querySelectorAll("*")].filter(element =>
    element.checkVisibility({visibilityProperty: true})
    && [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()));
  const rest = isRest ? texts.filter(element => !window.checkedTexts.has(element)) : [];
  window.checkedTexts = new Set(texts);
  if (isRest && !rest.length) return [];
  const options = {resultTypes: ["violations"], preload: false, rules: {"target-size": {enabled: true}}};
  if (rules.length) options.runOnly = {type: "rule", values: rules};
  const {violations} = await axe.run(isRest ? {include: rest} : document, options);
  const where = each => each.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | ");
  return violations.map(each => `${each.id} (${each.nodes.length}): ${where(each)}`);
}"""
BY_COLOUR = ("color-contrast", "link-in-text-block")
BY_WIDTH = ("scrollable-region-focusable", "label", "link-name", "button-name", "color-contrast", "target-size")


class Inspector:
    """Visits pages and collects their errors."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(BROWSER_TIMEOUT)
        context.add_init_script(WATCH)
        self.page = context.new_page()
        self.page.on("console", self.on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.complaints: list[str] = []
        self.errors: list[str] = []

    def on_console(self, message: object) -> None:
        """Keep console errors and warnings."""
        if message.type in {"error", "warning"}:  # type: ignore[attr-defined]
            self.complaints.append(message.text)  # type: ignore[attr-defined]

    def visit(self, name: str, address: str, status: int = 200, *, with_axe: bool = True) -> None:
        """Open a page, expect this status, and check it.

        Args:
            with_axe: check accessibility too, which takes longer than all other checks.
        """
        self.complaints.clear()
        self.resize(self.page, WIDE, "light")
        response = self.page.goto(address)
        if status != 200:  # the browser reports such a status as a console error
            self.complaints = [each for each in self.complaints if f"status of {status}" not in each]
        if response is None or response.status != status:
            self.complaints.append(f"was not answered with {status}")
        self.check(f"{name} ({address})", with_axe=with_axe)

    def check(self, name: str, *, with_axe: bool = True) -> None:
        """Check the open page."""
        found: list[str] = []
        if not self.page.locator("#content").count():
            found.append(f"is not an admin page but {self.page.title()}")
        else:
            found += self.accessibility_errors() if with_axe else []
            found += [error for width in reversed(WIDTHS) for error in dict.fromkeys(layout_errors(self.page, width))]
        self.resize(self.page, WIDE, "light")
        self.errors += [f"{name}: {error}" for error in [*found, *self.complaints]]
        self.complaints.clear()

    def accessibility_errors(self) -> list[str]:
        """What axe finds: by all rules in the wide light page, and by colour and width rules in the others.

        Dark colours of texts that the narrow page has are checked there only.
        """
        self.page.evaluate(AXE_SCRIPT)
        found = self.axe()
        self.resize(self.page, NARROW, "light")
        found += [f"narrow: {error}" for error in self.axe(*BY_WIDTH)]
        self.resize(self.page, NARROW, "dark")
        found += [f"dark, narrow: {error}" for error in self.axe(*BY_COLOUR)]
        self.resize(self.page, WIDE, "dark")
        found += [f"dark: {error}" for error in self.axe(*BY_COLOUR, is_rest=True)]
        self.resize(self.page, WIDE, "light")
        return found

    def axe(self, *rules: str, is_rest: bool = False) -> list[str]:
        """What axe finds, by these rules or by all.

        Args:
            is_rest: check only the texts that the last call did not see.
        """
        found: list[str] = self.page.evaluate(RUN, {"rules": list(rules), "isRest": is_rest})
        return found

    @staticmethod
    def resize(page: Page, width: int, theme: str) -> None:
        """Set the width and the theme."""
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
