"""Looks at a page as people might: at four widths, in both themes, with axe, and listens to the browser's complaints.

Each page is loaded once. Its window is resized and its theme switched in place.
"""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import BrowserContext, Page

from tests.support.browser.layout import WIDTHS, faults_at
from tests.support.browser.sign_in import PATIENCE, WATCH

NARROW, WIDE = WIDTHS[0], WIDTHS[-1]
# axe would write style sheets of its own to preload ours, which the policy of the pages forbids.
# Colours that are still on their way from one theme to the other are brought to their end first.
# The size of targets belongs to WCAG 2.2, whose rules axe leaves out unless they are asked for.
RUN = """async rules => {
  for (const moving of document.getAnimations()) if (moving instanceof CSSTransition) moving.finish();
  const options = {resultTypes: ["violations"], preload: false, rules: {"target-size": {enabled: true}}};
  if (rules.length) options.runOnly = {type: "rule", values: rules};
  const {violations} = await axe.run(document, options);
  const where = each => each.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | ");
  return violations.map(each => `${each.id} (${each.nodes.length}): ${where(each)}`);
}"""
BY_COLOUR = ("color-contrast", "link-in-text-block")
BY_WIDTH = ("scrollable-region-focusable", "label", "link-name", "button-name", "color-contrast", "target-size")


class Inspector:
    """Visits pages and keeps what is wrong with them."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE)
        context.add_init_script(WATCH)
        self.page = context.new_page()
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.complaints: list[str] = []
        self.faults: list[str] = []

    def hear(self, said: object) -> None:
        """Keep what the browser says of errors and warnings."""
        if said.type in {"error", "warning"}:  # type: ignore[attr-defined]
            self.complaints.append(said.text)  # type: ignore[attr-defined]

    def visit(self, name: str, address: str, status: int = 200, *, with_axe: bool = True) -> None:
        """Open a page, which has to be answered with this status, and look at it.

        Args:
            with_axe: look for barriers too, which takes longer than all the rest.
        """
        self.complaints.clear()
        self.look_at(self.page, WIDE, "light")
        response = self.page.goto(address)
        if status != 200:  # of which the browser complains in these words
            self.complaints = [each for each in self.complaints if f"status of {status}" not in each]
        if response is None or response.status != status:
            self.complaints.append(f"was not answered with {status}")
        self.look(f"{name} ({address})", with_axe=with_axe)

    def look(self, name: str, *, with_axe: bool = True) -> None:
        """Look at the page that is open."""
        found: list[str] = []
        if not self.page.locator("#content").count():
            found.append(f"is no page of the admin but {self.page.title()}")
        else:
            found += self.barriers() if with_axe else []
            found += [fault for width in reversed(WIDTHS) for fault in dict.fromkeys(faults_at(self.page, width))]
        self.look_at(self.page, WIDE, "light")
        self.faults += [f"{name}: {fault}" for fault in [*found, *self.complaints]]
        self.complaints.clear()

    def barriers(self) -> list[str]:
        """What axe finds on the page that is open: by all its rules, and by those that a theme or a width may break."""
        self.page.evaluate(AXE_SCRIPT)
        found = self.axe()
        self.look_at(self.page, WIDE, "dark")
        found += [f"dark: {fault}" for fault in self.axe(*BY_COLOUR)]
        self.look_at(self.page, NARROW, "dark")
        found += [f"dark, narrow: {fault}" for fault in self.axe(*BY_COLOUR)]
        self.look_at(self.page, NARROW, "light")
        return found + [f"narrow: {fault}" for fault in self.axe(*BY_WIDTH)]

    def axe(self, *rules: str) -> list[str]:
        """What axe finds, by these rules or by all."""
        found: list[str] = self.page.evaluate(RUN, list(rules))
        return found

    @staticmethod
    def look_at(page: Page, width: int, theme: str) -> None:
        """A window of this width, in this theme."""
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
