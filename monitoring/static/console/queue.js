// Work in the queue of findings without leaving the page: send forms, replace the list in place, open rows, and press
// buttons by keys. Without this script the same forms and links work by loading the page.
//
// The script remembers the marked row by its finding's number. So a key never decides on another finding when the list
// changes.
"use strict";

(() => {
  const part = document.getElementById("gs-queue");
  const said = document.getElementById("gs-said");
  if (!part) return;
  let marked = null; // the number of a finding
  let place = 0; // its place in the list
  let isSending = false;

  const rows = () => [...part.querySelectorAll("[data-finding]")];
  const row = () => rows().find((each) => each.dataset.finding === marked);

  function say(text) {
    said.textContent = "";
    setTimeout(() => { said.textContent = text; }, 50); // without this, a screen reader does not read the same words twice
  }

  function mark(target, { focus = true } = {}) {
    for (const each of rows()) each.removeAttribute("data-marked");
    if (!target) { marked = null; return; }
    marked = target.dataset.finding;
    place = rows().indexOf(target);
    target.dataset.marked = "1";
    if (focus) {
      target.focus({ preventScroll: true });
      target.scrollIntoView({ block: "nearest" });
    }
  }

  function go(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(row());
    mark(all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + by))]);
  }

  // Keep the picked and typed values when the list is replaced, here or by the poller.
  const picked = new Map();
  const PICKED = "[name=reason_release], [name=reason_confirm], [name=note]";

  part.addEventListener("input", (event) => {
    if (event.target.matches(PICKED)) picked.set(event.target.name, event.target.value);
  });

  function show(html) {
    part.innerHTML = html;
    picked.delete("note");
    part.dispatchEvent(new CustomEvent("gs:shown", { bubbles: true, detail: { focus: true } }));
    const told = [...part.querySelectorAll("[data-said]")].map((each) => each.textContent.trim());
    if (told.length) say(told.join(" "));
  }

  async function send(form, submitter) {
    if (isSending) return;
    isSending = true;
    part.setAttribute("aria-busy", "true");
    const body = new URLSearchParams(new FormData(form, submitter));
    body.set("next", location.pathname + part.dataset.url);
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
      if (!answer.ok || !new URL(answer.url).searchParams.has("part")) throw new Error(String(answer.status));
      show(await answer.text());
    } catch {
      say("That did not work. The page reloads.");
      location.reload();
    } finally {
      isSending = false;
      part.removeAttribute("aria-busy");
    }
  }

  part.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-inplace]")) return;
    event.preventDefault();
    const isMany = event.submitter?.name === "ruling";
    if (isMany && !part.querySelector("[name=finding]:checked")) {
      say("Select at least one finding first.");
      part.querySelector("[data-all]")?.focus();
      return;
    }
    const own = event.submitter?.closest("[data-finding]");
    if (own) mark(own, { focus: false });
    send(event.target, event.submitter);
  });

  part.addEventListener("gs:shown", (event) => {
    if (event.target !== part) return;
    for (const field of part.querySelectorAll(PICKED))
      if (picked.has(field.name)) field.value = picked.get(field.name);
    const all = rows();
    const again = row() || (marked !== null && all[Math.min(place, all.length - 1)]);
    const isLost = document.activeElement === document.body || document.activeElement === null;
    mark(again || null, { focus: (isLost && marked !== null) || event.detail?.focus === true });
    if (!all.length && event.detail?.focus) document.getElementById("gs-main")?.focus();
  });

  part.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]"))
      for (const each of part.querySelectorAll("[name=finding]")) each.checked = event.target.checked;
  });

  part.addEventListener("toggle", async (event) => {
    const details = event.target;
    if (!details.open || !details.dataset.glance || details.dataset.seen) return;
    details.dataset.seen = "1";
    const inside = details.querySelector(".gs-glance");
    try {
      const answer = await fetch(details.dataset.glance, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      inside.innerHTML = await answer.text();
      inside.dispatchEvent(new CustomEvent("gs:shown", { bubbles: true }));
    } catch {
      delete details.dataset.seen; // so that it loads when it is opened again
    }
  }, true);

  part.addEventListener("focusin", (event) => {
    const own = event.target.closest("[data-finding]");
    if (own && own.dataset.finding !== marked) mark(own, { focus: false });
  });

  const KEYS = {
    j: () => go(1),
    k: () => go(-1),
    r: () => row()?.querySelector("[data-key=r]")?.click(),
    c: () => row()?.querySelector("[data-key=c]")?.click(),
    u: () => part.querySelector("[data-key=u]")?.click(),
    o: () => row()?.querySelector("[data-open]")?.click(),
    x: () => row()?.querySelector("[name=finding]")?.click(),
    d: () => row()?.querySelector("summary")?.click(),
    "?": () => {
      const help = document.getElementById("gs-keys");
      help.open = !help.open;
      if (help.open) help.querySelector("summary").focus();
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (target.isContentEditable || target.closest("textarea, select, input:not([type=checkbox])")) return;
    const isOnRow = target.matches("[data-finding]");
    const act = event.key === "Enter" && isOnRow ? KEYS.o : KEYS[event.key];
    if (!act || (event.repeat && "rcux".includes(event.key))) return;
    event.preventDefault();
    act();
  });
})();
