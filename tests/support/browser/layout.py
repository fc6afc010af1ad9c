"""Checks of a page's layout in the browser: width, clipping, cut texts, broken words."""

from __future__ import annotations

from playwright.sync_api import Page

WIDTHS = (390, 1024, 1280, 1440)

# A line may break at a space, a hyphen or a slash only. IDs, JSON and tracebacks are not checked.
CHECKS = """() => {
  const errors = [], root = document.documentElement;
  const over = root.scrollWidth - root.clientWidth;
  if (over > 0) errors.push(`the page is ${over} px too wide`);
  const shown = element => element.checkVisibility({visibilityProperty: true});
  const hides = (element, box) => {
    for (let each = element; each && each !== box; each = each.parentElement)
      if (getComputedStyle(each).overflowX !== "visible") return true;
    return getComputedStyle(box).overflowX !== "visible";
  };
  for (const svg of document.querySelectorAll("#content svg")) {
    if (!shown(svg)) continue;
    const box = svg.getBoundingClientRect();
    for (let outer = svg.parentElement; outer; outer = outer.parentElement) {
      if (getComputedStyle(outer).overflowX === "visible" || outer === root || outer === document.body) continue;
      const frame = outer.getBoundingClientRect();
      const fits = box.left >= frame.left - 1 && box.right <= frame.right + 1;
      if (!fits) errors.push(`clipped: ${svg.outerHTML.slice(0, 80)}`);
    }
  }
  for (const list of document.querySelectorAll("#content :is(.results, .tq-tabs)")) {
    const cut = list.scrollWidth - list.clientWidth;
    if (cut > 1 && getComputedStyle(list).overflowX !== "visible") errors.push(`cut by ${cut} px: ${list.className}`);
  }
  for (const element of document.body.querySelectorAll("*")) {
    const {overflowX, textOverflow, webkitLineClamp} = getComputedStyle(element);
    if (!["hidden", "clip"].includes(overflowX) || element.clientWidth < 2 || !element.innerText?.trim()) continue;
    const cut = [element.scrollWidth - element.clientWidth, element.scrollHeight - element.clientHeight];
    if (Math.max(...cut) < 3 || !shown(element)) continue;
    const hasTitle = (textOverflow === "ellipsis" || webkitLineClamp !== "none") && element.closest("[title]");
    if (!hasTitle) errors.push(`text cut by ${cut} px: ${element.outerHTML.replace(/\\s+/g, " ").slice(0, 120)}`);
  }
  const texts = document.createTreeWalker(document.querySelector("#content"), NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());) {
    const parent = text.parentElement;
    if (!parent || parent.closest("svg, pre, .tq-whole-id") || !shown(parent)) continue;
    const box = parent.closest("td, th, li, dd, dt, p, label, button, .tq-button, .tq-card, .tq-box");
    const frame = box && !hides(parent, box) && box.getBoundingClientRect();
    for (const word of text.data.matchAll(/[^\\s\\/\\u2010-\\u2015-]+/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const spills = each => each.right > frame.right + 1 || each.left < frame.left - 1;
      const isOutside = frame && [...range.getClientRects()].some(spills);
      if (isOutside) errors.push(`outside its ${box.localName}: ${word[0].slice(0, 60)}`);
      if (word[0].length > 24) continue;
      const lines = new Set([...range.getClientRects()].filter(box => box.width > 0).map(box => Math.round(box.top)));
      if (lines.size > 1) errors.push(`broken: ${word[0]}`);
    }
  }
  return errors;
}"""


def layout_errors(page: Page, width: int) -> list[str]:
    """The layout errors of the open page at this width."""
    page.set_viewport_size({"width": width, "height": 900})
    return [f"{width} px: {error}" for error in page.evaluate(CHECKS)]
