// Live rows: the stream sends the parts of the page that changed; this script replaces them and animates the rows.
"use strict";
(() => {
  const REFUSED = 30000, TINT = 6000, ANNOUNCE = 15000, FLIP = 240;
  const table = document.getElementById("ranking"), body = document.getElementById("rows");
  const stale = document.getElementById("stale"), moves = document.getElementById("moves");
  if (!table || !window.EventSource) return;
  const number = new Intl.NumberFormat(document.documentElement.lang === "fa" ? "fa-IR" : "en");
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
  const pending = new Map();  // parts that are not shown yet, by id
  let held = stored(), received = 0, news = 0, pointer = false, announced = -ANNOUNCE, stream = null, retry = 0;

  function stored() { try { return localStorage.getItem("peyvand-held") === "1"; } catch { return false; } }
  function store() { try { localStorage.setItem("peyvand-held", held ? "1" : "0"); } catch { /* storage unavailable */ } }
  const button = () => document.querySelector("[data-live-pause]");
  const rows = () => [...body.querySelectorAll("tr[data-province]")];

  function show() {
    const b = button();
    if (!b) return;
    b.hidden = false;
    b.setAttribute("aria-pressed", String(held));
    b.textContent = !held ? table.dataset.hold
      : news ? table.dataset.held.replace("{n}", number.format(news)) : table.dataset.release;
  }

  function consider() {
    const busy = held || document.hidden || pointer || table.contains(document.activeElement);
    if (news && !busy) apply();
  }

  document.addEventListener("click", (e) => {
    if (!e.target.closest("[data-live-pause]")) return;
    if (held && news) { apply(); return; }  // show what is new, and keep holding
    held = !held;
    store();
    show();
    consider();
  });
  table.addEventListener("pointerenter", () => { pointer = true; });
  table.addEventListener("pointerleave", () => { pointer = false; consider(); });
  table.addEventListener("focusout", () => setTimeout(consider, 0));
  document.addEventListener("visibilitychange", follow);  // a hidden page receives nothing

  function receive(e) {
    stale.hidden = true;
    const message = JSON.parse(e.data);
    if (message.since !== null && message.since !== received) { follow(); return; }  // missed an event: ask for all
    received = message.version;
    if (String(received) === body.dataset.version) return;
    for (const html of message.parts) {
      const template = document.createElement("template");
      template.innerHTML = html;
      pending.set(template.content.firstElementChild.id, template.content.firstElementChild);
    }
    news += 1;
    show();
    consider();
  }

  function apply() {
    const focused = document.activeElement === button(), before = new Map();
    for (const row of rows()) before.set(row.id, { top: row.getBoundingClientRect().top, rank: row.dataset.rank });
    for (const part of pending.values()) document.getElementById(part.id)?.replaceWith(part);
    body.append(...rows().sort((a, b) =>
      (a.dataset.rank || Infinity) - (b.dataset.rank || Infinity) || (a.dataset.province < b.dataset.province ? -1 : 1)));
    body.dataset.version = received;
    pending.clear();
    news = 0;
    show();  // the new as-of line has a new button
    if (focused) button()?.focus();
    const moved = [];
    for (const row of rows()) {
      const old = before.get(row.id);
      if (!old) continue;
      const by = old.top - row.getBoundingClientRect().top;
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
  }

  function announce(moved) {
    if (!moved.length || performance.now() < announced + ANNOUNCE) return;
    announced = performance.now();
    const most = moved.sort((a, b) => (b.from - b.to) - (a.from - a.to))[0];
    moves.textContent = table.dataset.moved.replace("{name}", most.name)
      .replace("{from}", number.format(most.from)).replace("{to}", number.format(most.to));
  }

  function follow() {
    clearTimeout(retry);
    stream?.close();
    stream = null;
    if (document.hidden) return;
    const opened = stream = new EventSource(table.dataset.stream);
    for (const kind of ["table", "rows"]) opened.addEventListener(kind, receive);
    opened.addEventListener("error", () => {
      const refused = opened.readyState === EventSource.CLOSED;
      stale.hidden = !refused;
      if (refused) retry = setTimeout(follow, REFUSED * (1 + Math.random()));
    });
  }
  follow();
  show();
})();
