// Live rows: the stream says that something moved, htmx fetches the rows, this moves them from old to new place.
"use strict";
(() => {
  const PAUSE = 5000, TINT = 6000, SPOKEN = 15000, FLIP = 240;
  const table = document.getElementById("ranking");
  const stale = document.getElementById("stale"), moves = document.getElementById("moves");
  if (!table || !window.EventSource || !window.htmx) return;
  const number = new Intl.NumberFormat(document.documentElement.lang === "fa" ? "fa-IR" : "en");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let held = remembered(), version = 0, news = 0, pointer = false, asking = false;
  let swapped = 0, spoken = 0, before = new Map(), timer = 0, focused = false;

  function remembered() { try { return localStorage.getItem("peyvand-held") === "1"; } catch { return false; } }
  function remember() { try { localStorage.setItem("peyvand-held", held ? "1" : "0"); } catch { /* not kept then */ } }
  const button = () => document.querySelector("[data-live-pause]");
  const rows = () => table.querySelectorAll("tbody tr[data-province]");

  function show() {
    const b = button();
    if (!b) return;
    b.hidden = false;
    b.setAttribute("aria-pressed", String(held));
    b.textContent = !held ? table.dataset.hold
      : news ? table.dataset.held.replace("{n}", number.format(news)) : table.dataset.release;
  }

  const busy = () => held || document.hidden || pointer || asking || table.contains(document.activeElement);

  function consider() {
    clearTimeout(timer);
    if (!news || busy()) return;
    const wait = swapped + PAUSE - performance.now();
    if (wait > 0) { timer = setTimeout(consider, wait); return; }
    ask();
  }

  function ask() {
    asking = true;
    news = 0;
    swapped = performance.now();
    htmx.trigger(document.body, "ranking-moved");
  }

  document.addEventListener("click", (e) => {
    if (!e.target.closest("[data-live-pause]")) return;
    if (held && news) { ask(); show(); return; }  // shows what is new, and holds on
    held = !held;
    remember();
    show();
    consider();
  });
  table.addEventListener("pointerenter", () => { pointer = true; });
  table.addEventListener("pointerleave", () => { pointer = false; consider(); });
  table.addEventListener("focusout", () => setTimeout(consider, 0));
  document.addEventListener("visibilitychange", consider);

  document.body.addEventListener("htmx:beforeSwap", (e) => {
    if (e.detail.target.id !== "rows") return;
    focused = document.activeElement === button();
    before = new Map();
    for (const row of rows()) {
      before.set(row.dataset.province, { top: row.getBoundingClientRect().top + scrollY, rank: row.dataset.rank });
    }
  });

  document.body.addEventListener("htmx:oobAfterSwap", show);  // the as-of line brings a new button

  document.body.addEventListener("htmx:afterSettle", (e) => {
    if (e.detail.target.id !== "rows") return;
    asking = false;
    show();
    if (focused) button()?.focus();
    const moved = [];
    for (const row of rows()) {
      const old = before.get(row.dataset.province);
      if (!old) continue;
      const by = old.top - (row.getBoundingClientRect().top + scrollY);
      if (by && !still.matches) {
        row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: FLIP, easing: "ease-out" });
      }
      if (old.rank !== row.dataset.rank) {
        row.classList.add("moved");
        setTimeout(() => row.classList.remove("moved"), TINT);
        if (old.rank && row.dataset.rank) moved.push({ name: row.dataset.name, from: +old.rank, to: +row.dataset.rank });
      }
    }
    say(moved);
    consider();
  });
  for (const failed of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.body.addEventListener(failed, () => { asking = false; });
  }

  function say(moved) {
    if (!moved.length || performance.now() < spoken + SPOKEN) return;
    spoken = performance.now();
    const most = moved.sort((a, b) => (b.from - b.to) - (a.from - a.to))[0];
    moves.textContent = table.dataset.moved.replace("{name}", most.name)
      .replace("{from}", number.format(most.from)).replace("{to}", number.format(most.to));
  }

  spoken = -SPOKEN;
  const stream = new EventSource("/v1/stream");
  stream.addEventListener("moved", (e) => {
    stale.hidden = true;
    const now = JSON.parse(e.data).version;
    if (version && now !== version) { news += 1; show(); consider(); }
    version = now;
  });
  stream.addEventListener("error", () => { stale.hidden = stream.readyState !== EventSource.CLOSED; });
  show();
})();
