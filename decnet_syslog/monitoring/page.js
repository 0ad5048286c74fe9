// The status pages work without this script. It keeps them up to date, and remembers whether they
// are light or dark. It composes nothing: it shows only what the server rendered.
"use strict";
(() => {
  // The interval at which the listener looks at its workers, in milliseconds.
  const EVERY = 3000;
  const PATIENCE = 10000;
  // One refresh may fail, when many people look at once; two in a row are reported.
  const LATE = 5000;
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
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : preference.matches;

  // Set before anything is painted.
  use(stored());

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

  const show = (fresh) => {
    if (document.title !== fresh.title) document.title = fresh.title;
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next === null || old.isEqualNode(next)) continue;
      const focused = old.contains(document.activeElement)
        ? document.activeElement.getAttribute("href")
        : null;
      const here = document.importNode(next, true);
      old.replaceWith(here);
      if (focused !== null) {
        for (const link of here.querySelectorAll("a[href]")) {
          if (link.getAttribute("href") === focused) {
            link.focus({ preventScroll: true });
            break;
          }
        }
      }
    }
  };

  let freshAt = new Date();
  const say = (text) => {
    const stale = document.getElementById("stale");
    if (stale.textContent !== text) stale.textContent = text;
    stale.hidden = !text;
    root.classList.toggle("stale", Boolean(text));
  };

  const fetchAgain = async () => {
    try {
      const answer = await fetch(location.href, {
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE),
      });
      const type = answer.headers.get("content-type") || "";
      if (!type.startsWith("text/html")) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      show(new DOMParser().parseFromString(text, "text/html"));
      freshAt = new Date();
      say("");
    } catch {
      // An old page must not be mistaken for the present state.
      if (Date.now() - freshAt >= LATE) {
        say(`No answer since ${freshAt.toLocaleTimeString()}: this page is out of date.`);
      }
    }
  };

  const keepOn = async () => {
    // Not while the page is hidden, or while text is selected, perhaps to be copied.
    if (!document.hidden && getSelection().isCollapsed) await fetchAgain();
    setTimeout(keepOn, EVERY);
  };

  document.addEventListener("DOMContentLoaded", () => {
    prepareTheme();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) fetchAgain();
    });
    setTimeout(keepOn, EVERY);
  });
})();
