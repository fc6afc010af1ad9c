/* Live updates and keyboard shortcuts. A page fetches itself again and replaces its elements with data-region. No dependency. */
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const readSetting = (name, fallback) => { try { return localStorage.getItem(name) ?? fallback; } catch { return fallback; } };
  const saveSetting = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private browsing */ } };
  const make = (tag, attributes, text) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };

  /* --- live ------------------------------------------------------------------------------------------------------ */

  const MAX_INTERVAL = 60;
  let timer, failures = 0, clockOffset = 0, etag = null, button = null, newRows = null;
  const isOn = () => readSetting("tq-live", "on") === "on";
  const source = () => one("[data-live]") || one("[data-region][data-ended='false']") || one("#changelist:has([data-region])");
  const interval = () => Number(source()?.dataset.every || 5);
  const setStatus = (text) => { if (button) { button.textContent = text; button.title = `Live updates every ${interval()} s. Key: .`; } };

  function schedule(seconds = interval()) {
    clearTimeout(timer);
    if (isOn() && source() && !document.hidden) timer = setTimeout(refresh, seconds * 1000);
  }

  async function refresh() {
    const headers = { "X-TQ-Live": "1", ...(etag ? { "If-None-Match": etag } : {}) };
    try {
      const response = await fetch(location.href, { headers, credentials: "same-origin", cache: "no-store", redirect: "manual" });
      if (response.type === "opaqueredirect" || response.status === 403) { setStatus("Signed out"); return; }
      if (response.status !== 304 && !response.ok) throw new Error(String(response.status));
      failures = 0;
      setClockOffset(response.headers.get("Date"));
      if (response.status !== 304) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        if (replaceRegions(page)) etag = response.headers.get("ETag");
      }
      updateAges();
      announceFailures();
      if (!source()) { setStatus("Ended"); return; }
      setStatus("Live");
      schedule();
    } catch {
      failures += 1;
      setStatus("Reconnecting…");
      schedule(Math.min(MAX_INTERVAL, interval() * 2 ** failures));
    }
  }

  /* Ages are computed by the server's clock. The Date header has whole seconds. */
  function setClockOffset(date) {
    const offset = Date.parse(date) - Date.now();
    clockOffset = Math.abs(offset) > 2000 ? offset : 0;
  }

  /* Returns whether every region is up to date. A region in use is replaced at a later refresh. */
  function replaceRegions(page) {
    let complete = true;
    const root = one("[data-live]"), fresh = one("#content-main[data-live]", page);
    for (const region of all("[data-region]")) {
      const next = all("[data-region]", page).find((other) => other.dataset.region === region.dataset.region);
      if (!next || next.isEqualNode(region)) continue;
      if (isBusy(region)) { complete = false; continue; }
      if (isUnderPointer(region, next)) { complete = false; offerNewRows(region, next); continue; }
      replaceRegion(region, next);
    }
    if (root?.id === "content-main" && !fresh) {
      root.removeAttribute("data-live"); /* the task has ended */
    }
    return complete;
  }

  function isBusy(region) {
    const selection = getSelection();
    const selected = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
    const typing = region.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox], [type=radio]), textarea, select");
    return selected || typing || one(".action-select:checked", region) || one("dialog[open], [popover]:popover-open", region);
  }

  const rowsOf = (region) => all("tbody tr, [data-key]", region);
  const keyOf = (row) => row.dataset.key || one("a[href]", row)?.getAttribute("href");
  const keysOf = (region) => rowsOf(region).map(keyOf);

  function isUnderPointer(region, next) {
    if (!region.matches(":hover") || !one("tbody", region)) return false;
    return keysOf(region).join() !== keysOf(next).join();
  }

  function offerNewRows(region, next) {
    const oldKeys = new Set(keysOf(region));
    const added = keysOf(next).filter((key) => !oldKeys.has(key)).length;
    newRows?.remove();
    newRows = make("button", { type: "button", class: "tq-new-rows" }, added ? `${added} new — show` : "Order changed — show");
    newRows.addEventListener("click", () => { replaceRegion(region, next); newRows.remove(); updateAges(); });
    region.before(newRows);
  }

  function replaceRegion(region, next) {
    const open = new Set(all("details[open][id]", region).map((each) => each.id));
    const closed = new Set(all("details:not([open])[id]", region).map((each) => each.id));
    const oldKeys = new Set(keysOf(region));
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const selector = focused && selectorOf(focused);
    const fresh = document.importNode(next, true);
    for (const each of all("details[id]", fresh)) {
      if (open.has(each.id)) each.open = true;
      if (closed.has(each.id)) each.open = false;
    }
    for (const row of rowsOf(fresh)) if (oldKeys.size && !oldKeys.has(keyOf(row))) row.classList.add("tq-new");
    region.replaceWith(fresh);
    if (selector) one(selector, fresh)?.focus({ preventScroll: true });
    newRows?.remove();
  }

  /* A selector that finds an element again after its region was replaced. */
  function selectorOf(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    const name = ["href", "formaction"].find((each) => element.getAttribute(each));
    return name && `[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  }

  /* Screen readers announce new failures and nothing else. */
  let failed = null;
  function announceFailures() {
    const badge = one("[data-region='nav'] a[href*='status=failed'] .tq-nav-badge");
    const now = badge ? parseInt(badge.textContent, 10) : 0;
    if (failed !== null && now > failed) announcer.textContent = `${now - failed} new failure${now - failed > 1 ? "s" : ""}`;
    failed = now;
  }
  const announcer = make("div", { class: "visually-hidden", "aria-live": "polite" }, "");

  /* Relative times are updated at every response, also at a 304. */
  const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  function updateAges() {
    for (const time of all("time[datetime][data-age]")) {
      const seconds = Math.trunc((Date.parse(time.dateTime) - Date.now() - clockOffset) / 1000);
      const text = time.dataset.due ? due(time.dataset.due, seconds) : relative(seconds);
      if (time.textContent !== text && !isSelected(time)) time.textContent = text;
    }
  }

  /* As formats.relative and formats.due write them. */
  function relative(seconds) {
    if (!seconds) return "just now";
    const length = Math.abs(seconds), [unit, size] = UNITS.find((each) => length >= each[1]);
    const text = `${Math.floor(length / size)}${unit}`;
    return seconds > 0 ? `in ${text}` : `${text} ago`;
  }
  const due = (verb, seconds) => (seconds > 0 ? `${verb} ${relative(seconds)}` : "due now");

  function isSelected(element) {
    const selection = getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(element, true);
  }

  function toggle() {
    saveSetting("tq-live", isOn() ? "off" : "on");
    show();
    if (isOn()) refresh(); else clearTimeout(timer);
  }
  function show() {
    button?.setAttribute("aria-pressed", String(isOn()));
    setStatus(isOn() ? "Live" : "Paused");
  }

  function start() {
    document.body.append(announcer);
    announceFailures();
    if (source()) {
      button = one("button.tq-live") || make("button", { type: "button", class: "tq-button tq-live" }, "Live");
      button.hidden = false;
      if (!button.isConnected) one(".tq-head")?.append(button);
      button.addEventListener("click", toggle);
      show();
      schedule();
      document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : isOn() && source() && refresh()));
    }
    openTarget();
    addEventListener("hashchange", openTarget);
  }

  /* A button copies its data-copy, or else the <pre> next to it. Browsers without a clipboard hide it. */
  async function copy(button) {
    await navigator.clipboard.writeText(button.dataset.copy || one("pre", button.parentElement).textContent);
    button.textContent = announcer.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  if (navigator.clipboard) {
    document.documentElement.classList.add("tq-has-clipboard");
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-copy]");
      if (button) copy(button).catch(() => { button.textContent = "Not copied"; });
    });
  }

  /* A filter menu closes on a click elsewhere and on Escape. */
  const closeMenus = (but = null) => all(".tq-filter details[open]").forEach((menu) => { if (menu !== but) menu.open = false; });
  document.addEventListener("click", (event) => closeMenus(event.target.closest(".tq-filter details")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && one(".tq-filter details[open]");
    if (menu) { closeMenus(); one("summary", menu).focus(); }
  });

  /* #step-2 opens that step. */
  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView({ block: "start" }); }
  }

  /* --- keyboard shortcuts ---------------------------------------------------------------------------------------- */

  const KEYS = [
    ["g o", "Overview"], ["g t", "Tasks"], ["g f", "Failures"], ["g p", "Pipelines"], ["g w", "Workers"],
    ["/", "Search"], [".", "Live updates on or off"], ["[", "Newer task"], ["]", "Older task"],
    ["j", "Next row"], ["k", "Previous row"], ["x", "Select the row"], ["Enter", "Open the row"], ["?", "This list"],
  ];
  const PAGES = { o: "Overview", t: "Tasks", f: "Failures", p: "Pipelines", w: "Workers" };
  const rows = () => all("#result_list tbody tr");
  let prefix = "", row = -1;

  function go(name) {
    all(".tq-nav a").find((link) => link.textContent.trim().startsWith(name))?.click();
  }
  function move(by) {
    const found = rows();
    if (!found.length) return;
    const here = found.findIndex((each) => each.contains(document.activeElement));
    row = Math.max(0, Math.min(found.length - 1, (here >= 0 ? here : row) + by));
    one("th a, td a", found[row])?.focus();
  }
  function selectRow() {
    const box = document.activeElement?.closest("tr") && one(".action-select", document.activeElement.closest("tr"));
    box?.click();
  }
  const ACTIONS = {
    "/": () => (one("#searchbar") || one("input[type=search]"))?.focus(),
    ".": () => source() && toggle(),
    "[": () => one("a[data-newer]")?.click(),
    "]": () => one("a[data-older]")?.click(),
    j: () => move(1), k: () => move(-1), x: selectRow, "?": help,
  };

  function help() {
    let dialog = one("#tq-keys");
    if (!dialog) {
      dialog = make("dialog", { id: "tq-keys", class: "tq-keys", "aria-labelledby": "tq-keys-title" }, "");
      dialog.append(make("h2", { id: "tq-keys-title" }, "Keyboard shortcuts"));
      const list = dialog.appendChild(make("dl", {}, ""));
      for (const [key, text] of KEYS) list.append(make("dt", {}, key), make("dd", {}, text));
      const label = dialog.appendChild(make("label", {}, ""));
      const box = label.appendChild(make("input", { type: "checkbox" }, ""));
      box.checked = readSetting("tq-keys", "on") === "on";
      box.addEventListener("change", () => saveSetting("tq-keys", box.checked ? "on" : "off"));
      label.append(" Enable single-key shortcuts (? always works)");
      const form = dialog.appendChild(make("form", { method: "dialog" }, ""));
      form.append(make("button", { class: "tq-button" }, "Close"));
      document.body.append(dialog);
    }
    dialog.showModal();
  }

  /* A chart is one tab stop; arrow keys move between its bars. */
  function moveBetweenBars(event) {
    const chart = event.target.closest?.("[data-roving]");
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!chart || !by) return false;
    const bars = all("a", chart), next = bars[bars.indexOf(event.target.closest("a")) + by];
    if (!next) return true;
    for (const bar of bars) bar.setAttribute("tabindex", bar === next ? "0" : "-1");
    next.focus();
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (moveBetweenBars(event)) { event.preventDefault(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
    if (event.key !== "?" && readSetting("tq-keys", "on") !== "on") return;
    if (prefix === "g") { prefix = ""; if (PAGES[event.key]) { event.preventDefault(); go(PAGES[event.key]); } return; }
    if (event.key === "g") { prefix = "g"; setTimeout(() => { prefix = ""; }, 1500); return; }
    if (ACTIONS[event.key]) { event.preventDefault(); ACTIONS[event.key](); }
  });

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
