// Live rows: the stream announces new figures, htmx fetches the rows, this script animates them to their new positions.
"use strict";
(() => {
  const PAUSE = 5000, REFUSED = 30000, TINT = 6000, ANNOUNCE = 15000, FLIP = 240;
  const table = document.getElementById("ranking");
  const stale = document.getElementById("stale"), moves = document.getElementById("moves");
  if (!table || !window.EventSource || !window.htmx) return;
  const number = new Intl.NumberFormat(document.documentElement.lang === "fa" ? "fa-IR" : "en");
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
  let held = stored(), version = 0, news = 0, pointer = false, fetching = false;
  let swapped = 0, announced = 0, before = new Map(), timer = 0, focused = false;

  function stored() { try { return localStorage.getItem("peyvand-held") === "1"; } catch { return false; } }
  function store() { try { localStorage.setItem("peyvand-held", held ? "1" : "0"); } catch { /* storage unavailable */ } }
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

  const busy = () => held || document.hidden || pointer || fetching || table.contains(document.activeElement);

  function consider() {
    clearTimeout(timer);
    if (!news || busy()) return;
    const wait = swapped + PAUSE - performance.now();
    if (wait > 0) { timer = setTimeout(consider, wait); return; }
    fetchRows();
  }

  function fetchRows() {
    fetching = true;
    news = 0;
    swapped = performance.now();
    htmx.trigger(document.body, "ranking-moved");
  }

  document.addEventListener("click", (e) => {
    if (!e.target.closest("[data-live-pause]")) return;
    if (held && news) { fetchRows(); show(); return; }  // show what is new, and keep holding
    held = !held;
    store();
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

  document.body.addEventListener("htmx:oobAfterSwap", show);  // the new as-of line has a new button

  document.body.addEventListener("htmx:afterSettle", (e) => {
    if (e.detail.target.id !== "rows") return;
    fetching = false;
    show();
    if (focused) button()?.focus();
    const moved = [];
    for (const row of rows()) {
      const old = before.get(row.dataset.province);
      if (!old) continue;
      const by = old.top - (row.getBoundingClientRect().top + scrollY);
      if (by && !reducedMotion.matches) {
        row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: FLIP, easing: "ease-out" });
      }
      if (old.rank !== row.dataset.rank) {
        row.classList.add("moved");
        setTimeout(() => row.classList.remove("moved"), TINT);
        if (old.rank && row.dataset.rank) moved.push({ name: row.dataset.name, from: +old.rank, to: +row.dataset.rank });
      }
    }
    announce(moved);
    consider();
  });
  for (const failed of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.body.addEventListener(failed, () => { fetching = false; });
  }

  function announce(moved) {
    if (!moved.length || performance.now() < announced + ANNOUNCE) return;
    announced = performance.now();
    const most = moved.sort((a, b) => (b.from - b.to) - (a.from - a.to))[0];
    moves.textContent = table.dataset.moved.replace("{name}", most.name)
      .replace("{from}", number.format(most.from)).replace("{to}", number.format(most.to));
  }

  announced = -ANNOUNCE;
  function follow() {
    const stream = new EventSource("/v1/stream");
    stream.addEventListener("moved", (e) => {
      stale.hidden = true;
      const now = JSON.parse(e.data).version;
      if (version && now !== version) { news += 1; show(); consider(); }
      version = now;
    });
    stream.addEventListener("error", () => {
      const refused = stream.readyState === EventSource.CLOSED;
      stale.hidden = !refused;
      if (refused) setTimeout(follow, REFUSED * (1 + Math.random()));
    });
  }
  follow();
  show();
})();
