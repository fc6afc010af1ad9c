"""What is wrong with the layout of a page, as the browser has laid it out."""

from __future__ import annotations

from playwright.sync_api import Page

WIDTHS = (390, 1024, 1280, 1440)

# A word may end a line at a space, a hyphen or a slash, and nowhere else. Ids, JSON and stacks have no words.
FAULTS = """() => {
  const faults = [], root = document.documentElement;
  const over = root.scrollWidth - root.clientWidth;
  if (over > 0) faults.push(`the page is ${over} px too wide`);
  const shown = element => element.checkVisibility({visibilityProperty: true});
  for (const svg of document.querySelectorAll("#content svg")) {
    if (!shown(svg)) continue;
    const box = svg.getBoundingClientRect();
    for (let outer = svg.parentElement; outer; outer = outer.parentElement) {
      if (getComputedStyle(outer).overflowX === "visible" || outer === root || outer === document.body) continue;
      const frame = outer.getBoundingClientRect();
      const fits = box.left >= frame.left - 1 && box.right <= frame.right + 1;
      if (!fits) faults.push(`clipped: ${svg.outerHTML.slice(0, 80)}`);
    }
  }
  for (const list of document.querySelectorAll("#content :is(.results, .tq-tabs)")) {
    const cut = list.scrollWidth - list.clientWidth;
    if (cut > 1 && getComputedStyle(list).overflowX !== "visible") faults.push(`cut by ${cut} px: ${list.className}`);
  }
  const texts = document.createTreeWalker(document.querySelector("#content"), NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());) {
    const parent = text.parentElement;
    if (!parent || parent.closest("svg, pre, .tq-whole-id") || !shown(parent)) continue;
    for (const word of text.data.matchAll(/[^\\s\\/\\u2010-\\u2015-]+/g)) {
      if (word[0].length > 24) continue;
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].filter(box => box.width > 0).map(box => Math.round(box.top)));
      if (lines.size > 1) faults.push(`broken: ${word[0]}`);
    }
  }
  return faults;
}"""


def faults_at(page: Page, width: int) -> list[str]:
    """What is wrong with the page that is open, at this width: too wide, a drawing cut, a word broken."""
    page.set_viewport_size({"width": width, "height": 900})
    return [f"{width} px: {fault}" for fault in page.evaluate(FAULTS)]
