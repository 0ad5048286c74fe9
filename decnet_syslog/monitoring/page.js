// The status pages work without this script. It keeps them up to date, shows a search while it is
// typed, and remembers whether the pages are light or dark. It composes nothing: it shows only what
// the server rendered.
"use strict";
(() => {
  // The interval at which the listener looks at its workers, in milliseconds.
  const EVERY = 3000;
  const PATIENCE = 10000;
  // One refresh may fail, when many people look at once; two in a row are reported.
  const LATE = 5000;
  // A search is sent when nothing was typed for this long. The server makes a few pages a second.
  const TYPING = 200;
  // The server asks to come again in a second when it has made too many pages.
  const AGAIN = 1000;
  const KEY = "decnet-theme";
  const root = document.documentElement;
  const preference = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      // The browser may forbid it; then nothing is remembered.
      return null;
    }
  };
  const store = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // See above.
    }
  };
  const use = (theme) => {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preference.matches);

  // Set before anything is painted.
  use(stored());
  root.classList.add("scripted");

  const prepareTheme = () => {
    const button = document.getElementById("theme");
    const name = () => {
      button.textContent = isDark() ? "Light" : "Dark";
    };
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      use(theme);
      store(theme);
      name();
    });
    preference.addEventListener("change", name);
    // Another window changed it.
    addEventListener("storage", (event) => {
      if (event.key === KEY) {
        use(event.newValue);
        name();
      }
    });
    name();
    button.hidden = false;
  };

  // The element in a fresh part that stands for the focused one.
  const again = (here, focused) => {
    if (focused.id) return document.getElementById(focused.id);
    const address = focused.getAttribute("href");
    const links = [...here.querySelectorAll("a[href]")];
    return links.find((link) => link.getAttribute("href") === address);
  };

  const replaceParts = (fresh) => {
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next === null || old.isEqualNode(next)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const here = document.importNode(next, true);
      old.replaceWith(here);
      if (focused !== null) again(here, focused)?.focus({ preventScroll: true });
    }
  };

  // The form keeps the filter and the order of the view that is shown.
  const adaptForm = (fresh) => {
    const form = document.getElementById("find");
    const next = fresh.getElementById("find");
    if (form === null || next === null) return;
    for (const old of form.querySelectorAll("input[type=hidden]")) old.remove();
    for (const kept of next.querySelectorAll("input[type=hidden]")) {
      form.append(document.importNode(kept, true));
    }
    for (const name of ["q", "sort"]) {
      const field = form.elements[name];
      if (field !== document.activeElement) field.value = next.elements[name].value;
    }
  };

  const show = (fresh) => {
    if (document.title !== fresh.title) document.title = fresh.title;
    const icon = document.querySelector("link[rel=icon]");
    const nextIcon = fresh.querySelector("link[rel=icon]");
    if (icon.getAttribute("href") !== nextIcon.getAttribute("href")) icon.replaceWith(nextIcon);
    const found = document.getElementById("found");
    const nextFound = fresh.getElementById("found");
    if (found !== null && nextFound !== null && found.textContent !== nextFound.textContent) {
      found.textContent = nextFound.textContent;
    }
    replaceParts(fresh);
    adaptForm(fresh);
  };

  let freshAt = new Date();
  const say = (text) => {
    const stale = document.getElementById("stale");
    if (stale.textContent !== text) stale.textContent = text;
    stale.hidden = !text;
    root.classList.toggle("stale", Boolean(text));
  };

  // The number of the newest request: an older answer must not replace a newer one.
  let newest = 0;
  const wait = (time) => new Promise((done) => setTimeout(done, time));

  const fetchAgain = async () => {
    const number = ++newest;
    try {
      const answer = await fetch(location.href, {
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE),
      });
      const type = answer.headers.get("content-type") || "";
      if (!type.startsWith("text/html")) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      if (number !== newest) return true;
      show(new DOMParser().parseFromString(text, "text/html"));
      freshAt = new Date();
      say("");
      return true;
    } catch {
      // An old page must not be mistaken for the present state.
      if (Date.now() - freshAt >= LATE) {
        say(`No answer since ${freshAt.toLocaleTimeString()}: this page is out of date.`);
      }
      return number !== newest;
    }
  };

  const keepOn = async () => {
    // Not while the page is hidden, or while text is selected, perhaps to be copied.
    if (!document.hidden && getSelection().isCollapsed) await fetchAgain();
    setTimeout(keepOn, EVERY);
  };

  // Show another view of the same page without loading it.
  const visit = async (address, replace) => {
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    if (await fetchAgain()) return;
    await wait(AGAIN);
    await fetchAgain();
  };

  const prepareForm = () => {
    const form = document.getElementById("find");
    if (form === null) return;
    const address = () => {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) {
        if (value && !(name === "sort" && value === "state")) query.append(name, value);
      }
      const text = query.toString();
      return text ? `?${text}` : location.pathname;
    };
    let timer = 0;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => visit(address(), true), TYPING);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(timer);
      visit(address(), true);
    });
    addEventListener("keydown", (event) => {
      const isTyping = event.target.matches?.("input, select, textarea");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      form.elements.q.focus();
    });
  };

  const prepareLinks = () => {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("#workers a[href]");
      if (link === null || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const address = link.getAttribute("href");
      if (!address.startsWith("?") && address !== ".") return;
      event.preventDefault();
      visit(link.href, false);
    });
    addEventListener("popstate", fetchAgain);
  };

  document.addEventListener("DOMContentLoaded", () => {
    prepareTheme();
    prepareForm();
    prepareLinks();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) fetchAgain();
    });
    setTimeout(keepOn, EVERY);
  });
})();
