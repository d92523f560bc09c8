/* One curve in two coordinate systems: move a coefficient of a B-spline, and watch what happens to
   the coefficients of the same curve in shifted powers of ReLU.

   Fills every <div data-element="coordinates-playground">. Plain JavaScript and SVG, no dependency;
   works from file://. The arithmetic is at window.kanliteCoordinates, where the tests compare it
   with kanlite. Symbols: k degree, G intervals on [-1, 1], n = G + k functions, h spacing,
   c coefficients of B-splines, a coefficients of powers of ReLU, t knots. */
(function () {
  "use strict";

  // --- Arithmetic -----------------------------------------------------------------------------

  const range = (n) => [...Array(n).keys()];
  const choose = (m, j) => range(j).reduce((value, i) => (value * (m - i)) / (i + 1), 1);
  const factorial = (k) => range(k).reduce((value, i) => value * (i + 1), 1);
  const knot = (i, G, k) => -1 + (2 * (i - k)) / G;
  /** The place on the axis to which coefficient i belongs: the mean of the k knots inside. */
  const greville = (i, G, k) => range(k).reduce((sum, q) => sum + knot(i + q + 1, G, k), 0) / k;

  /** a = A c with A = (I - S)^(k + 1) / (k! h^k). */
  function toRelu(c, G, k) {
    const scale = factorial(k) * (2 / G) ** k;
    return c.map((_, l) => range(Math.min(k + 1, l) + 1).reduce(
      (sum, j) => sum + (j % 2 ? -1 : 1) * choose(k + 1, j) * c[l - j], 0) / scale);
  }

  /** The spline with coefficients c at x in [-1, 1], by de Boor's rounds. */
  function spline(x, c, G, k) {
    const m = k + Math.min(Math.floor(((x + 1) * G) / 2), G - 1);
    const d = range(k + 1).map((j) => c[m - k + j]);
    for (let r = 1; r <= k; r++) {
      for (let j = k; j >= r; j--) {
        const low = knot(m - k + j, G, k), high = knot(m + 1 + j - r, G, k);
        const w = (x - low) / (high - low);
        d[j] = (1 - w) * d[j - 1] + w * d[j];
      }
    }
    return d[k];
  }

  /** The same number from the coefficients of the powers of ReLU. */
  const reluSum = (x, a, G, k) =>
    a.reduce((sum, value, l) => sum + value * Math.max(x - knot(l, G, k), 0) ** k, 0);

  /** The condition number of A in the maximum norm (exact for G >= 2). */
  const condition = (G, k) => 2 ** (k + 1) * choose(G + 2 * k, k + 1);

  window.kanliteCoordinates = { toRelu, spline, reluSum, condition };

  // --- Small helpers --------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";
  function make(tag, attributes, parent, text) {
    const html = ["div", "p", "label", "select", "option", "button", "span"].includes(tag);
    const node = html ? document.createElement(tag) : document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }
  const set = (node, attributes) => {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  };
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const minus = (text) => String(text).replace(/-/g, "\u2212");
  const whole = (x) => Math.round(x).toLocaleString("en-US");
  const largest = (list) => list.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  // --- The element ----------------------------------------------------------------------------

  const START = { G: 8, k: 3 };
  const POWERS = 4; // the lower picture reaches 10^4 in both directions
  const wave = (G, k) => range(G + k).map((i) => Math.round(
    80 * Math.sin(2.4 * clamp(greville(i, G, k), -1, 1))) / 100);
  let serial = 0;

  function build(root) {
    const id = `coordinates-${++serial}`;
    const state = { ...START, c: wave(START.G, START.k) };
    let plot, handles = [];

    const controls = make("div", { class: "playground-controls" }, root);
    function choice(name, key, values) {
      const box = make("span", {}, controls);
      make("label", { for: `${id}-${key}` }, box, name);
      const select = make("select", { id: `${id}-${key}` }, box);
      values.forEach((value) => make("option", { value }, select, value));
      select.addEventListener("change", () => {
        state[key] = Number(select.value);
        state.c = wave(state.G, state.k);
        draw();
      });
      return select;
    }
    const degreeChoice = choice("Degree", "k", [1, 2, 3]);
    const gridChoice = choice("Intervals", "G", [4, 8, 16]);
    const button = (text, action) =>
      make("button", { type: "button" }, controls, text).addEventListener("click", () => {
        action();
        draw();
      });
    button("One bump", () => {
      state.c = state.c.map((_, i) => (i === state.c.length >> 1 ? 1 : 0));
    });
    button("Zigzag", () => { state.c = state.c.map((_, i) => (i % 2 ? -0.5 : 0.5)); });
    button("Reset", () => { Object.assign(state, START, { c: wave(START.G, START.k) }); });

    const svg = make("svg", {
      role: "group", class: "playground-plot",
      "aria-label": "A spline and its coefficients; below, the coefficients of the same curve " +
        "in powers of ReLU, on a logarithmic scale",
    }, root);
    const frame = make("g", { "aria-hidden": "true" }, svg);
    const handleGroup = make("g", { role: "group", "aria-label": "Coefficients of B-splines" }, svg);
    const readout = make("p", { class: "playground-where", "aria-live": "polite" }, root);
    make("p", { class: "playground-help" }, root,
      "Drag a round mark up or down, or reach it with Tab and use the arrow keys. Above: the curve " +
      "and its B-spline coefficients. Below: the coefficients of the same curve in powers of ReLU, " +
      "one for each knot; each line of the scale is ten times the one before.");

    // --- The marks, one for each coefficient --------------------------------------------------

    const KEYS = {
      ArrowUp: 0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowLeft: -0.02, PageUp: 0.2,
      PageDown: -0.2, Home: -Infinity, End: Infinity,
    };
    function move(i, value) {
      state.c[i] = clamp(Math.round(value * 100) / 100, -1, 1);
      draw();
    }
    function handleFor(i) {
      const node = make("g", {
        role: "slider", tabindex: 0, class: "playground-handle", "data-coefficient": i,
        "aria-label": `Coefficient ${i}`, "aria-valuemin": -1, "aria-valuemax": 1,
        "aria-orientation": "vertical",
      }, handleGroup);
      make("circle", { r: 12, class: "playground-hit" }, node);
      make("circle", { r: 6, class: "playground-mark" }, node);
      node.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
        event.preventDefault();
        move(i, state.c[i] + KEYS[event.key]);
      });
      node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
      node.addEventListener("pointerdown", (event) => {
        if (event.button > 0) return;
        event.preventDefault();
        node.focus({ preventScroll: true });
        node.setPointerCapture(event.pointerId);
        const value = (moved) => plot.toC(moved.clientY - svg.getBoundingClientRect().top);
        const offset = state.c[i] - value(event);
        node.onpointermove = (moved) => move(i, value(moved) + offset);
        node.onpointerup = node.onpointercancel = () => {
          node.onpointermove = node.onpointerup = node.onpointercancel = null;
        };
      });
      return node;
    }
    function matchHandles() {
      while (handles.length > state.c.length) handles.pop().remove();
      while (handles.length < state.c.length) handles.push(handleFor(handles.length));
    }

    // --- Drawing ------------------------------------------------------------------------------

    function scales() {
      const width = Math.max(260, Math.round(root.clientWidth - 2));
      const left = 48, right = 18, inner = width - left - right;
      const first = greville(0, state.G, state.k), span = -2 * first;
      const top = { y0: 26, y1: 216 }, bottom = { y0: 262, y1: 442 };
      const middle = (bottom.y0 + bottom.y1) / 2;
      return {
        width, height: bottom.y1 + 12, left, right: width - right, top, bottom, middle,
        x: (v) => left + ((v - first) / span) * inner,
        y: (v) => (top.y0 + top.y1) / 2 - clamp(v / 1.15, -1, 1) * ((top.y1 - top.y0) / 2),
        toC: (py) => (((top.y0 + top.y1) / 2 - py) / ((top.y1 - top.y0) / 2)) * 1.15,
        bar: (l) => left + ((l + 0.5) / state.c.length) * inner,
        a: (v) => middle - Math.sign(v) *
          clamp(Math.log10(1 + Math.abs(v)) / POWERS, 0, 1) * ((bottom.y1 - bottom.y0) / 2),
      };
    }
    const path = (list) =>
      list.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(2)} ${py.toFixed(2)}`).join("");

    function draw() {
      const { G, k, c } = state;
      plot = scales();
      matchHandles();
      degreeChoice.value = k;
      gridChoice.value = G;
      set(svg, { width: plot.width, height: plot.height,
        viewBox: `0 0 ${plot.width} ${plot.height}` });
      frame.replaceChildren();
      const text = (x, y, string, more) =>
        make("text", { x, y, class: "playground-text", ...more }, frame, string);
      const line = (x1, x2, y1, y2) =>
        make("line", { class: "playground-axis", x1, x2, y1, y2 }, frame);
      make("rect", { class: "playground-domain", x: plot.x(-1), y: plot.top.y0,
        width: plot.x(1) - plot.x(-1), height: plot.top.y1 - plot.top.y0 }, frame);
      text(plot.left, 15, "the curve, and its coefficients in B-splines");
      [-1, 0, 1].forEach((value) => {
        line(plot.left, plot.right, plot.y(value), plot.y(value));
        text(plot.left - 6, plot.y(value) + 4, minus(value), { "text-anchor": "end" });
      });
      make("path", { class: "playground-polygon",
        d: path(c.map((value, i) => [plot.x(greville(i, G, k)), plot.y(value)])) }, frame);
      make("path", { class: "playground-curve coordinates-curve", d: path(range(241).map((j) => {
        const x = -1 + j / 120;
        return [plot.x(x), plot.y(spline(x, c, G, k))];
      })) }, frame);
      drawBars(text, line, toRelu(c, G, k));
      handles.forEach((node, i) => set(node, {
        transform: `translate(${plot.x(greville(i, G, k))} ${plot.y(c[i])})`,
        "aria-valuenow": c[i], "aria-valuetext": minus(c[i].toFixed(2)),
      }));
      readout.textContent = `Largest coefficient in B-splines: ${largest(c).toFixed(2)}; in powers ` +
        `of ReLU: ${whole(largest(toRelu(c, G, k)))}. Condition number of the change of ` +
        `coordinates: ${whole(condition(G, k))}.`;
    }

    function drawBars(text, line, a) {
      text(plot.left, plot.bottom.y0 - 12, "its coefficients in powers of ReLU");
      range(2 * POWERS + 1).map((q) => q - POWERS).forEach((power) => {
        const value = Math.sign(power) * 10 ** Math.abs(power), y = power ? plot.a(value) : plot.middle;
        line(plot.left, plot.right, y, y);
        text(plot.left - 6, y + 4, power ? `${power < 0 ? "\u2212" : ""}1e${Math.abs(power)}` : "0", {
          "text-anchor": "end" });
      });
      const width = Math.max(3, ((plot.right - plot.left) / a.length) * 0.55);
      a.forEach((value, l) => {
        const y = plot.a(value);
        make("rect", { class: "coordinates-bar", x: plot.bar(l) - width / 2,
          y: Math.min(y, plot.middle), width, height: Math.abs(y - plot.middle) }, frame);
      });
    }

    root.kanlite = state; // for the tests, and for the curious
    draw();
    if (window.ResizeObserver) new ResizeObserver(() => {
      if (Math.abs(scales().width - plot.width) > 1) draw();
    }).observe(root);
  }

  const start = () =>
    document.querySelectorAll("[data-element=coordinates-playground]").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
