// Show times in the viewer's zone, and keep parts of a page up to date while someone looks.
//
// <div data-poll="3" data-url="?part=1"> is loaded again every 3 s. A hidden page does this ten times less often, and a
// failure also makes it less often. The new part replaces the old one, unless the user types in it or has opened
// something in it. A part with [data-poll-end] is not loaded again.
"use strict";

(() => {
  const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

  function localise(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-zoned])")) {
      time.textContent = zoned.format(new Date(time.dateTime));
      time.dataset.zoned = "1";
    }
  }

  function isBusy(part) {
    const active = document.activeElement;
    const types = part.contains(active) && /^(INPUT|TEXTAREA|SELECT)$/.test(active.tagName);
    const isWritten = [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((each) => each.value !== each.defaultValue);
    return types || isWritten || part.querySelector("details[open], input:checked:not([data-default])") !== null;
  }

  function keep(part) {
    const every = 1000 * Number(part.dataset.poll);
    let failures = 0;

    function later() {
      if (part.querySelector("[data-poll-end]")) return part.removeAttribute("data-poll");
      setTimeout(ask, every * (document.hidden ? 10 : 1) * Math.min(10, 2 ** failures));
    }

    async function ask() {
      if (isBusy(part)) return later();
      try {
        const answer = await fetch(part.dataset.url, { headers: { Accept: "text/html" }, redirect: "error" });
        if (!answer.ok) throw new Error(String(answer.status));
        const text = await answer.text();
        if (!isBusy(part)) {
          part.innerHTML = text;
          part.dispatchEvent(new CustomEvent("gs:shown", { bubbles: true }));
        }
        failures = 0;
        part.removeAttribute("data-stale");
      } catch {
        failures += 1;
        part.dataset.stale = "1";
      }
      later();
    }

    document.addEventListener("visibilitychange", () => { if (!document.hidden && part.dataset.poll) ask(); });
    later();
  }

  localise(document);
  document.addEventListener("gs:shown", (event) => localise(event.target));
  document.querySelectorAll("[data-poll]").forEach(keep);
})();
