"use strict";
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefers.matches);
  const show = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
  // A page opened from disk may have no storage.
  try { const kept = localStorage.getItem("mammo-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch (error) { }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("mammo-theme", root.dataset.theme); } catch (error) { }
    show();
  });
  prefers.addEventListener("change", show);
  let before;
  addEventListener("beforeprint", () => { before = root.dataset.theme; root.dataset.theme = "light"; });
  addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; });
  button.hidden = false;
  show();
})();
