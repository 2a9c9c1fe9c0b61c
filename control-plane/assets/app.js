// What pages do beyond HTML: live parts, times that go on, copying, dialogs. Without it every page
// reads and every form works.
"use strict";

(() => {
  const RETRY_MS = [1000, 2000, 5000, 15000];
  const FULL_MS = 30000;
  const $all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Says a sentence to whoever listens instead of looking.
  function say(sentence) {
    const voice = document.getElementById("voice");
    if (voice) voice.textContent = sentence;
  }

  // --- Live parts -------------------------------------------------------------------------------

  const live = { stream: null, failures: 0, timer: 0 };

  function show(state, text) {
    for (const indicator of $all("[data-live-state]")) {
      indicator.hidden = false;
      indicator.dataset.state = state;
      indicator.textContent = text;
    }
  }

  function open() {
    clearTimeout(live.timer);
    if (live.stream || document.hidden || !document.querySelector("main [data-live]")) return;
    const page = location.pathname + location.search;
    const stream = new EventSource(`/live?page=${encodeURIComponent(page)}`);
    live.stream = stream;
    stream.addEventListener("open", () => {
      live.failures = 0;
      show("live", "live");
    });
    stream.addEventListener("fragment", (event) => swap(JSON.parse(event.data)));
    stream.addEventListener("gone", () => location.reload());
    stream.addEventListener("full", () => pause(FULL_MS));
    stream.addEventListener("error", () => {
      const wait = RETRY_MS[Math.min(live.failures, RETRY_MS.length - 1)];
      live.failures += 1;
      pause(wait);
    });
  }

  function close() {
    clearTimeout(live.timer);
    if (live.stream) live.stream.close();
    live.stream = null;
  }

  function pause(wait) {
    close();
    show("paused", "paused, reconnecting");
    live.timer = setTimeout(open, wait);
  }

  // Puts a newer form of a part in its place; what is open stays open, what has the focus keeps it.
  function swap({ id, html }) {
    const old = document.getElementById(id);
    if (!old) return;
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const fresh = holder.content.firstElementChild;
    if (!fresh || fresh.isEqualNode(old)) return;
    for (const details of $all("details[id][open]", old)) {
      const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = true;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") && `a[href="${CSS.escape(focused.getAttribute("href"))}"]`);
    const scrolled = $all("[data-scroll]", old).map((box) => [box.scrollTop, box.scrollLeft]);
    old.replaceWith(fresh);
    if (key) fresh.querySelector(key)?.focus({ preventScroll: true });
    $all("[data-scroll]", fresh).forEach((box, at) => {
      if (scrolled[at]) [box.scrollTop, box.scrollLeft] = scrolled[at];
    });
    tick();
    mirror();
  }

  // A dialog shows what a part of the page below says.
  function mirror() {
    for (const copy of $all("[data-mirror]")) {
      const source = document.getElementById(copy.dataset.mirror);
      if (source && copy.innerHTML !== source.innerHTML) copy.innerHTML = source.innerHTML;
    }
  }

  // --- Times ------------------------------------------------------------------------------------

  function spell(seconds) {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
    const days = Math.floor(seconds / 86400);
    return days === 1 ? "1 day" : `${days} days`;
  }

  // The server's clock less this one's, so that a wrong clock here tells no wrong times.
  const offset = (() => {
    const now = Date.parse(document.body.dataset.now ?? "");
    return Number.isNaN(now) ? 0 : now - Date.now();
  })();

  function tick() {
    const now = Date.now() + offset;
    for (const time of $all("time[data-ago]")) {
      const passed = Math.round((now - Date.parse(time.dateTime)) / 1000);
      if (Number.isNaN(passed)) continue;
      const text = passed >= 0 ? `${spell(passed)} ago` : `in ${spell(-passed)}`;
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of $all("time[data-countdown]")) {
      const left = Math.ceil((Date.parse(time.dateTime) - now) / 1000);
      const pad = (number) => String(number).padStart(2, "0");
      const hours = Math.floor(left / 3600);
      const clock = `${pad(Math.floor(left / 60) % 60)}:${pad(left % 60)}`;
      const text = left > 0 ? `expires in ${hours > 0 ? `${hours}:` : ""}${clock}` : "expired";
      if (time.textContent === text) continue;
      time.textContent = text;
      if (left <= 0) {
        time.closest(".pill")?.classList.replace("idle", "bad");
        $all("[data-when-expired]").forEach((note) => { note.hidden = false; });
      }
    }
  }

  // --- Copying ----------------------------------------------------------------------------------

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    const text = source.value ?? source.textContent;
    let copied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      copied = document.execCommand("copy");
    }
    const before = button.dataset.words ?? button.textContent;
    button.dataset.words = before;
    button.textContent = copied ? "Copied" : "Press Ctrl+C";
    say(copied ? "Copied" : "The text is selected, press Ctrl+C");
    setTimeout(() => { button.textContent = before; }, 2000);
  }

  // --- Dialogs ----------------------------------------------------------------------------------

  // Shows the answer's [data-dialog-part] in a dialog; a form in it answers into the same dialog.
  async function intoDialog(request, opener) {
    let text;
    try {
      const answer = await fetch(request);
      if (answer.redirected) {
        location.assign(answer.url);
        return;
      }
      text = await answer.text();
    } catch {
      say("The control plane does not answer");
      show("paused", "the control plane does not answer");
      return;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    const part = page.querySelector("[data-dialog-part]") ?? page.querySelector("main");
    let dialog = document.getElementById("dialog");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "dialog";
      dialog.addEventListener("cancel", (event) => {
        if (back(dialog)) event.preventDefault();
      });
      dialog.addEventListener("close", () => {
        dialog.behind = null;
        dialog.replaceChildren();
        const opened = dialog.opener;
        if (opened?.isConnected) opened.focus();
        else if (opened?.id) document.getElementById(opened.id)?.focus();
      });
      document.body.append(dialog);
    }
    if (opener && !dialog.open) dialog.opener = opener;
    const asks = dialog.open && part.hasAttribute("data-dialog-question");
    dialog.behind = asks ? { nodes: [...dialog.childNodes], opener } : null;
    dialog.replaceChildren(document.adoptNode(part));
    const title = dialog.querySelector("h1, h2");
    if (title) {
      title.id ||= "dialog-title";
      dialog.setAttribute("aria-labelledby", title.id);
    }
    if (!dialog.open) dialog.showModal();
    (dialog.querySelector("[data-autofocus]") ?? dialog.querySelector("button, a, input"))?.focus();
    say(title?.textContent ?? "");
    tick();
    mirror();
  }

  // Whoever says no to a question gets back what it was asked about: it may be shown only once.
  function back(dialog) {
    if (!dialog.behind) return false;
    const { nodes, opener } = dialog.behind;
    dialog.behind = null;
    dialog.replaceChildren(...nodes);
    opener?.focus();
    tick();
    mirror();
    return true;
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const inDialog = form.closest("dialog#dialog") && !form.hasAttribute("data-leave");
    if (!(inDialog || form.hasAttribute("data-dialog")) || form.method !== "post") return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    intoDialog(new Request(form.action, { method: "POST", body }), event.submitter);
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-copy], [data-dialog-close], a[data-dialog]");
    if (!target) return;
    if (target.dataset.copy) {
      copy(target);
    } else if (target.hasAttribute("data-dialog-close")) {
      const dialog = target.closest("dialog");
      if (!dialog) return;
      event.preventDefault();
      if (!back(dialog)) dialog.close();
    } else if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      intoDialog(new Request(target.href), target);
    }
  });

  // A filter applies itself as soon as something is chosen.
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-auto]");
    if (form && event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
  });

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  document.documentElement.classList.add("scripted");
  setInterval(tick, 1000);
  tick();
})();
