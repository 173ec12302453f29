// Pages are whole without this. It tells times in the viewer's zone, and brings pages up to date that say so.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const local = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

function tellTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    time.textContent = local.format(new Date(time.dateTime));
  }
}

// Regions as they came, before times are told otherwise.
const came = new WeakMap();

function fill() {
  for (const region of document.querySelectorAll("[data-region]")) came.set(region, region.innerHTML);
  tellTimes(document);
  for (const place of document.querySelectorAll("[data-zone]")) {
    place.textContent = `Times are in your zone, ${zone}; point at one to see UTC.`;
  }
}

// Takes the regions that are to be live from a page that was fetched anew.
async function renew() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  const isSame = answer.ok && new URL(answer.url).pathname === location.pathname;
  if (!isSame) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of document.querySelectorAll("[data-region]")) {
    const next = page.querySelector(`[data-region="${region.dataset.region}"]`);
    if (!next || next.innerHTML === came.get(region)) continue;
    // Whoever is in the middle of a form is not disturbed.
    if (region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) continue;
    came.set(region, next.innerHTML);
    const kept = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    region.replaceChildren(...next.childNodes);
    tellTimes(region);
    if (kept) region.querySelector(`[href="${CSS.escape(kept)}"]`)?.focus();
  }
  if (!page.body.hasAttribute("data-live")) stop();
}

let events = null;
let renewing = false;
let missed = false;

function stop() {
  events?.close();
  events = null;
}

function start() {
  if (events || !document.body.hasAttribute("data-live") || document.hidden) return;
  events = new EventSource("/live");
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) {
      for (const place of document.querySelectorAll("[data-zone]")) place.textContent = "This page is not brought up to date any more: load it anew.";
      stop();
    }
  };
  events.onmessage = async () => {
    missed = true;
    if (renewing) return;
    renewing = true;
    try {
      // What comes meanwhile may not be in the page that is on its way.
      while (missed && events) {
        missed = false;
        await renew();
      }
    } finally {
      renewing = false;
    }
  };
}

fill();
start();
// What nobody sees need not be told of.
document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
