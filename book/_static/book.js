/* Small repairs that make the theme's pages accessible: names, landmarks, scrolling by keyboard. */
(function () {
  "use strict";

  const all = (selector, act) => document.querySelectorAll(selector).forEach(act);

  // Boxes that scroll sideways can be reached and scrolled with the keyboard.
  const SCROLLERS =
    ".bd-article pre, .bd-article div.math, .bd-article mjx-container, .bd-article .cell_output, " +
    ".bd-article .output, .bd-article .pst-scrollable-table-container, .bd-article .sig";
  function markScrollers() {
    all(SCROLLERS, (box) => {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls && !box.hasAttribute("tabindex")) {
        box.setAttribute("tabindex", "0");
        box.dataset.scrolls = "";
      } else if (!scrolls && "scrolls" in box.dataset) {
        box.removeAttribute("tabindex");
        delete box.dataset.scrolls;
      }
    });
  }

  // The logo stands outside of every landmark.
  function placeLogo() {
    all(".bd-sidebar-primary .navbar-brand", (logo) => {
      logo.parentElement.setAttribute("role", "navigation");
      logo.parentElement.setAttribute("aria-label", "Start page");
    });
  }

  // What a control is called must contain what it shows.
  function nameControls() {
    all(".search-button-field, summary[aria-label]", (control) => {
      if (control.textContent.trim()) control.removeAttribute("aria-label");
    });
    all("nav summary:not([aria-label])", (toggle) => {
      const chapter = toggle.closest("li").querySelector("a").textContent.trim();
      toggle.setAttribute("aria-label", `Pages that belong to ${chapter}`);
    });
    all(".theme-switch-button svg, .theme-switch-button i", (icon) => {
      icon.setAttribute("aria-hidden", "true");
      icon.querySelectorAll("title").forEach((title) => title.remove());
      icon.removeAttribute("aria-labelledby");
      icon.removeAttribute("title"); // from which the icon font would make a title later
    });
  }

  function start() {
    placeLogo();
    nameControls();
    // The icon font replaces icons when it finds the time.
    const observer = new MutationObserver(nameControls);
    all(".theme-switch-button", (button) => observer.observe(button, { childList: true }));
    markScrollers();
    window.addEventListener("resize", markScrollers);
    if (window.MathJax && window.MathJax.startup && window.MathJax.startup.promise) {
      window.MathJax.startup.promise.then(markScrollers);
    }
  }

  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();
