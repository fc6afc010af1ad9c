/* Live pages and keys. A page asks for itself again, and what is marked with data-region is exchanged. No dependency. */
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const kept = (name, fallback) => { try { return localStorage.getItem(name) ?? fallback; } catch { return fallback; } };
  const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* a private window */ } };
  const make = (tag, attributes, text) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };

  /* --- live ------------------------------------------------------------------------------------------------------ */

  const LONGEST = 60;
  let timer, failures = 0, ahead = 0, tag = null, button = null, news = null;
  const isOn = () => kept("tq-live", "on") === "on";
  const source = () => one("[data-live]") || one("[data-region][data-ended='false']") || one("#changelist:has([data-region])");
  const every = () => Number(source()?.dataset.every || 5);
  const say = (text) => { if (button) { button.textContent = text; button.title = `Live updates every ${every()} s. Key: .`; } };

  function plan(seconds = every()) {
    clearTimeout(timer);
    if (isOn() && source() && !document.hidden) timer = setTimeout(tick, seconds * 1000);
  }

  async function tick() {
    const headers = { "X-TQ-Live": "1", ...(tag ? { "If-None-Match": tag } : {}) };
    try {
      const answer = await fetch(location.href, { headers, credentials: "same-origin", cache: "no-store", redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 403) { say("Signed out"); return; }
      if (answer.status !== 304 && !answer.ok) throw new Error(String(answer.status));
      failures = 0;
      setClock(answer.headers.get("Date"));
      if (answer.status !== 304) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (exchange(page)) tag = answer.headers.get("ETag");
      }
      age();
      tell();
      if (!source()) { say("Ended"); return; }
      say("Live");
      plan();
    } catch {
      failures += 1;
      say("Reconnecting…");
      plan(Math.min(LONGEST, every() * 2 ** failures));
    }
  }

  /* Ages are counted by the server's clock, which is told to the second. */
  function setClock(date) {
    const off = Date.parse(date) - Date.now();
    ahead = Math.abs(off) > 2000 ? off : 0;
  }

  /* True when every region shows what the server has: a busy one stays as it is until a later answer. */
  function exchange(page) {
    let complete = true;
    const root = one("[data-live]"), fresh = one("#content-main[data-live]", page);
    for (const region of all("[data-region]")) {
      const next = all("[data-region]", page).find((other) => other.dataset.region === region.dataset.region);
      if (!next || next.isEqualNode(region)) continue;
      if (isBusy(region)) { complete = false; continue; }
      if (isUnderThePointer(region, next)) { complete = false; offer(region, next); continue; }
      swap(region, next);
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
    return selected || typing || one(".action-select:checked", region) || one("dialog[open]", region);
  }

  const rowsOf = (region) => all("tbody tr, [data-key]", region);
  const keyOf = (row) => row.dataset.key || one("a[href]", row)?.getAttribute("href");
  const keysOf = (region) => rowsOf(region).map(keyOf);

  function isUnderThePointer(region, next) {
    if (!region.matches(":hover") || !one("tbody", region)) return false;
    return keysOf(region).join() !== keysOf(next).join();
  }

  function offer(region, next) {
    const known = new Set(keysOf(region));
    const added = keysOf(next).filter((key) => !known.has(key)).length;
    news?.remove();
    news = make("button", { type: "button", class: "tq-news" }, added ? `${added} new — show` : "The order has changed — show");
    news.addEventListener("click", () => { swap(region, next); news.remove(); age(); });
    region.before(news);
  }

  function swap(region, next) {
    const open = new Set(all("details[open][id]", region).map((each) => each.id));
    const closed = new Set(all("details:not([open])[id]", region).map((each) => each.id));
    const known = new Set(keysOf(region));
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const path = focused && pathOf(focused);
    const fresh = document.importNode(next, true);
    for (const each of all("details[id]", fresh)) {
      if (open.has(each.id)) each.open = true;
      if (closed.has(each.id)) each.open = false;
    }
    for (const row of rowsOf(fresh)) if (known.size && !known.has(keyOf(row))) row.classList.add("tq-new");
    region.replaceWith(fresh);
    if (path) one(path, fresh)?.focus({ preventScroll: true });
    news?.remove();
  }

  /* How an element is found again in a region that was exchanged. */
  function pathOf(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    const name = ["href", "formaction"].find((each) => element.getAttribute(each));
    return name && `[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  }

  /* New failures are said aloud; nothing else is. */
  let failed = null;
  function tell() {
    const pill = one("[data-region='nav'] a[href*='status=failed'] .tq-pill");
    const now = pill ? parseInt(pill.textContent, 10) : 0;
    if (failed !== null && now > failed) voice.textContent = `${now - failed} new failure${now - failed > 1 ? "s" : ""}`;
    failed = now;
  }
  const voice = make("div", { class: "visually-hidden", "aria-live": "polite" }, "");

  /* Relative times go on at every answer, also at one that says that nothing has changed. */
  const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  function age() {
    for (const time of all("time[datetime][data-age]")) {
      const seconds = Math.trunc((Date.parse(time.dateTime) - Date.now() - ahead) / 1000);
      const said = time.dataset.due ? due(time.dataset.due, seconds) : relative(seconds);
      if (time.textContent !== said && !isSelected(time)) time.textContent = said;
    }
  }

  /* The words of formats.relative and formats.due. */
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
    keep("tq-live", isOn() ? "off" : "on");
    show();
    if (isOn()) tick(); else clearTimeout(timer);
  }
  function show() {
    button?.setAttribute("aria-pressed", String(isOn()));
    say(isOn() ? "Live" : "Paused");
  }

  function begin() {
    document.body.append(voice);
    tell();
    if (source()) {
      button = one("button.tq-live") || make("button", { type: "button", class: "tq-button tq-live" }, "Live");
      button.hidden = false;
      if (!button.isConnected) one(".tq-head")?.append(button);
      button.addEventListener("click", toggle);
      show();
      plan();
      document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : isOn() && source() && tick()));
    }
    openTarget();
    addEventListener("hashchange", openTarget);
  }

  /* A button copies what its data-copy says, or else the text that it stands beside. Without a clipboard there is none. */
  async function copy(button) {
    await navigator.clipboard.writeText(button.dataset.copy || one("pre", button.parentElement).textContent);
    button.textContent = voice.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  if (navigator.clipboard) {
    document.documentElement.classList.add("tq-can-copy");
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-copy]");
      if (button) copy(button).catch(() => { button.textContent = "Not copied"; });
    });
  }

  /* A menu of the filters closes when something else is clicked, and by Escape. */
  const closeMenus = (but = null) => all(".tq-filter details[open]").forEach((menu) => { if (menu !== but) menu.open = false; });
  document.addEventListener("click", (event) => closeMenus(event.target.closest(".tq-filter details")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && one(".tq-filter details[open]");
    if (menu) { closeMenus(); one("summary", menu).focus(); }
  });

  /* #step-2 opens and shows what it names. */
  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView({ block: "start" }); }
  }

  /* --- keys ------------------------------------------------------------------------------------------------------ */

  const KEYS = [
    ["g o", "Overview"], ["g t", "Tasks"], ["g f", "Failures"], ["g p", "Pipelines"], ["g w", "Workers"],
    ["/", "Search"], [".", "Live updates on or off"], ["[", "Newer task"], ["]", "Older task"],
    ["j", "Next row"], ["k", "Previous row"], ["x", "Tick the row"], ["Enter", "Open the row"], ["?", "This list"],
  ];
  const PLACES = { o: "Overview", t: "Tasks", f: "Failures", p: "Pipelines", w: "Workers" };
  const rows = () => all("#result_list tbody tr");
  let after = "", row = -1;

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
  function tickRow() {
    const box = document.activeElement?.closest("tr") && one(".action-select", document.activeElement.closest("tr"));
    box?.click();
  }
  const DEEDS = {
    "/": () => (one("#searchbar") || one("input[type=search]"))?.focus(),
    ".": () => source() && toggle(),
    "[": () => one("a[data-newer]")?.click(),
    "]": () => one("a[data-older]")?.click(),
    j: () => move(1), k: () => move(-1), x: tickRow, "?": help,
  };

  function help() {
    let dialog = one("#tq-keys");
    if (!dialog) {
      dialog = make("dialog", { id: "tq-keys", class: "tq-keys", "aria-labelledby": "tq-keys-title" }, "");
      dialog.append(make("h2", { id: "tq-keys-title" }, "Keys"));
      const list = dialog.appendChild(make("dl", {}, ""));
      for (const [key, deed] of KEYS) list.append(make("dt", {}, key), make("dd", {}, deed));
      const label = dialog.appendChild(make("label", {}, ""));
      const box = label.appendChild(make("input", { type: "checkbox" }, ""));
      box.checked = kept("tq-keys", "on") === "on";
      box.addEventListener("change", () => keep("tq-keys", box.checked ? "on" : "off"));
      label.append(" Single keys work (? always does)");
      const form = dialog.appendChild(make("form", { method: "dialog" }, ""));
      form.append(make("button", { class: "tq-button" }, "Close"));
      document.body.append(dialog);
    }
    dialog.showModal();
  }

  /* Of a row of bars one is a stop of the tab key; arrows go from bar to bar. */
  function rove(event) {
    const strip = event.target.closest?.("[data-roving]");
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!strip || !by) return false;
    const bars = all("a", strip), next = bars[bars.indexOf(event.target.closest("a")) + by];
    if (!next) return true;
    for (const bar of bars) bar.setAttribute("tabindex", bar === next ? "0" : "-1");
    next.focus();
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (rove(event)) { event.preventDefault(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
    if (event.key !== "?" && kept("tq-keys", "on") !== "on") return;
    if (after === "g") { after = ""; if (PLACES[event.key]) { event.preventDefault(); go(PLACES[event.key]); } return; }
    if (event.key === "g") { after = "g"; setTimeout(() => { after = ""; }, 1500); return; }
    if (DEEDS[event.key]) { event.preventDefault(); DEEDS[event.key](); }
  });

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
})();
