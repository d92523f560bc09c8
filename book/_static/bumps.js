/* One neuron at a time: units that bend at chosen places, the best sum of them, and the error that
   remains; with bends that keep the hypothesis of the theorem, and bends that break it.

   Fills every <div data-element="bumps-playground">. Plain JavaScript and SVG, no dependency;
   works from file://. The arithmetic is at window.kanliteBumps, where the tests compare it with
   NumPy. Symbols: x in [-1, 1], a place where a unit bends, q an orthonormal basis of the units. */
(function () {
  "use strict";

  // --- Arithmetic -----------------------------------------------------------------------------

  const range = (n) => [...Array(n).keys()];
  const CHECKS = range(401).map((k) => -1 + k / 200); // where curves are fitted and measured

  const BENDS = {
    relu: { name: "ReLU", bend: (t) => Math.max(t, 0) },
    step: { name: "step", bend: (t) => (t >= 0 ? 1 : 0) },
    tanh: { name: "tanh", bend: (t) => Math.tanh(6 * t) },
    square: { name: "parabola (breaks the hypothesis)", bend: (t) => t * t, degree: 2 },
    cubic: { name: "cubic (breaks the hypothesis)", bend: (t) => t * t * t, degree: 3 },
  };

  const FUNCTIONS = {
    hill: { name: "a hill", f: (x) => 2 * Math.exp(-8 * (x - 0.2) ** 2) - 0.8 },
    wave: { name: "a wave", f: (x) => Math.sin(5 * x) * Math.exp(-x / 2) * 0.7 },
    corner: { name: "a corner", f: (x) => 1 - 2 * Math.abs(x) },
    jump: { name: "a jump", f: (x) => (x < 0 ? -0.8 : 0.8), jumps: true },
  };

  const dot = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  const without = (v, basis) => basis.reduce((rest, q) => {
    const share = dot(rest, q);
    return rest.map((value, i) => value - share * q[i]);
  }, v);

  /** What is left of v outside of the basis, and its length; null if v adds nothing new. */
  function outside(v, basis) {
    const whole = Math.sqrt(dot(v, v));
    const rest = without(without(v, basis), basis); // twice, so that rounding does no harm
    const length = Math.sqrt(dot(rest, rest));
    return length > 1e-8 * Math.max(whole, 1e-300) ? { rest, length } : null;
  }

  const column = (bend, place) => CHECKS.map((x) => BENDS[bend].bend(x - place));

  /** Orthonormal basis of a constant and the units, one entry for each unit that adds something. */
  function basisOf(bend, places) {
    const basis = [CHECKS.map(() => 1 / Math.sqrt(CHECKS.length))];
    places.forEach((place) => {
      const found = outside(column(bend, place), basis);
      if (found) basis.push(found.rest.map((value) => value / found.length));
    });
    return basis;
  }

  /** The best sum of a constant and the units: values at CHECKS, errors, and the dimension. */
  function fit(f, bend, places) {
    const values = CHECKS.map(f), basis = basisOf(bend, places);
    const rest = without(without(values, basis), basis);
    const largest = rest.reduce((most, e) => Math.max(most, Math.abs(e)), 0);
    return {
      values: values.map((y, i) => y - rest[i]), largest,
      rms: Math.sqrt(dot(rest, rest) / CHECKS.length), dimension: basis.length,
    };
  }

  const CANDIDATES = range(100).map((k) => Math.round(-100 + 2 * k) / 100);
  /** The place of a new unit that lowers the mean square most; null if none lowers it. */
  function bestPlace(f, bend, places) {
    const basis = basisOf(bend, places);
    const values = CHECKS.map(f), rest = without(without(values, basis), basis);
    let best = null, most = 1e-12 * (dot(values, values) + 1);
    CANDIDATES.forEach((place) => {
      const found = outside(column(bend, place), basis);
      const gain = found ? (dot(rest, found.rest) / found.length) ** 2 : 0;
      if (gain > most) [best, most] = [place, gain];
    });
    return best;
  }

  /** The middle of the widest gap between the places and the ends of the interval. */
  function widestGap(places) {
    const all = [-1, ...places, 1].sort((p, q) => p - q);
    let at = 0, widest = -1;
    for (let i = 1; i < all.length; i++) {
      if (all[i] - all[i - 1] > widest + 1e-9) {
        [at, widest] = [(all[i] + all[i - 1]) / 2, all[i] - all[i - 1]];
      }
    }
    return Math.round(at * 100) / 100;
  }

  window.kanliteBumps = { BENDS, FUNCTIONS, CHECKS, fit, bestPlace, widestGap };

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
  const short = (x) => (x < 1e-10 ? "0 up to rounding" : x < 1e-4 ? "below 0.0001" : x.toPrecision(3));

  // --- The element ----------------------------------------------------------------------------

  const MOST = 24, FLOOR = 1e-4;
  const START = { shape: "hill", bend: "relu" };
  let serial = 0;

  function build(root) {
    const id = `bumps-${++serial}`;
    const state = { ...START, places: [] };
    let plot, handles = [];

    const controls = make("div", { class: "playground-controls" }, root);
    function choice(name, options) {
      const box = make("span", {}, controls);
      make("label", { for: `${id}-${name}` }, box, name);
      const select = make("select", { id: `${id}-${name}` }, box);
      Object.entries(options).forEach(([value, option]) =>
        make("option", { value }, select, option.name));
      return select;
    }
    const shapeChoice = choice("Function", FUNCTIONS);
    const bendChoice = choice("Bend", BENDS);
    const button = (text) => make("button", { type: "button" }, controls, text);
    const add = button("Add a unit"), greedy = button("Add where it helps most");
    const remove = button("Remove the last"), reset = button("Reset");

    const svg = make("svg", {
      role: "group", class: "playground-plot",
      "aria-label": "A function and the best sum of the units; below, the error by their number",
    }, root);
    const frame = make("g", { "aria-hidden": "true" }, svg);
    const handleGroup = make("g", { role: "group", "aria-label": "Where the units bend" }, svg);
    const readout = make("p", { class: "playground-where", "aria-live": "polite" }, root);
    make("p", { class: "playground-help" }, root,
      "Add units and drag the round marks to where they should bend, or reach a mark with Tab and " +
      "move it with the arrow keys; Delete removes it. The output weights are always the best " +
      "ones in the mean square. Two of the bends break the hypothesis of the theorem.");

    const target = () => FUNCTIONS[state.shape].f;
    function push(place) {
      if (place === null || state.places.length >= MOST) return;
      state.places.push(place);
      draw();
    }
    add.addEventListener("click", () => push(widestGap(state.places)));
    greedy.addEventListener("click", () => {
      const place = bestPlace(target(), state.bend, state.places);
      push(place === null ? widestGap(state.places) : place);
    });
    remove.addEventListener("click", () => { state.places.pop(); draw(); });
    reset.addEventListener("click", () => { Object.assign(state, START, { places: [] }); draw(); });
    shapeChoice.addEventListener("change", () => { state.shape = shapeChoice.value; draw(); });
    bendChoice.addEventListener("change", () => { state.bend = bendChoice.value; draw(); });

    // --- The marks, one for each unit ---------------------------------------------------------

    const KEYS = {
      ArrowRight: 0.02, ArrowUp: 0.02, ArrowLeft: -0.02, ArrowDown: -0.02, PageUp: 0.2,
      PageDown: -0.2, Home: -Infinity, End: Infinity,
    };
    function move(i, place) {
      state.places[i] = clamp(Math.round(place * 100) / 100, -1, 0.98);
      draw();
    }
    function handleFor(i) {
      const node = make("g", {
        role: "slider", tabindex: 0, class: "playground-handle", "data-unit": i,
        "aria-label": `Unit ${i + 1}`, "aria-valuemin": -1, "aria-valuemax": 0.98,
      }, handleGroup);
      make("circle", { r: 13, class: "playground-hit" }, node);
      make("circle", { r: 6.5, class: "playground-mark" }, node);
      node.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "Delete" || event.key === "Backspace") {
          event.preventDefault();
          state.places.splice(i, 1);
          draw();
          (handles[Math.min(i, handles.length - 1)] || add).focus();
        } else if (event.key in KEYS) {
          event.preventDefault();
          move(i, state.places[i] + KEYS[event.key]);
        }
      });
      node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
      node.addEventListener("pointerdown", (event) => {
        if (event.button > 0) return;
        event.preventDefault();
        node.focus({ preventScroll: true });
        node.setPointerCapture(event.pointerId);
        const place = (moved) => plot.toX(moved.clientX - svg.getBoundingClientRect().left);
        const offset = state.places[i] - place(event);
        node.onpointermove = (moved) => move(i, place(moved) + offset);
        node.onpointerup = node.onpointercancel = () => {
          node.onpointermove = node.onpointerup = node.onpointercancel = null;
        };
      });
      return node;
    }
    function matchHandles() {
      while (handles.length > state.places.length) handles.pop().remove();
      while (handles.length < state.places.length) handles.push(handleFor(handles.length));
    }

    // --- Drawing ------------------------------------------------------------------------------

    function scales() {
      const width = Math.max(260, Math.round(root.clientWidth - 2));
      const left = 44, right = 16, inner = width - left - right;
      const top = { y0: 24, y1: 244 }, bottom = { y0: 292, y1: 382 };
      const decades = -Math.log10(FLOOR);
      return {
        width, height: bottom.y1 + 26, left, right: width - right, top, bottom,
        x: (v) => left + ((v + 1) / 2) * inner,
        toX: (px) => ((px - left) / inner) * 2 - 1,
        y: (v) => (top.y0 + top.y1) / 2 - clamp(v / 1.6, -1, 1) * ((top.y1 - top.y0) / 2),
        n: (N) => left + (N / MOST) * inner,
        e: (v) => bottom.y0 +
          clamp((0.2 - Math.log10(Math.max(v, 1e-300))) / (decades + 0.2), 0, 1) *
            (bottom.y1 - bottom.y0),
      };
    }
    const path = (list) =>
      list.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(2)} ${py.toFixed(2)}`).join("");
    const curveOf = (values) => path(values.map((y, i) => [plot.x(CHECKS[i]), plot.y(y)]));

    function draw() {
      plot = scales();
      matchHandles();
      const { shape, bend, places } = state, f = target();
      const history = range(places.length + 1).map((n) => fit(f, bend, places.slice(0, n)));
      const found = history[places.length];
      shapeChoice.value = shape;
      bendChoice.value = bend;
      add.disabled = greedy.disabled = places.length >= MOST;
      remove.disabled = places.length === 0;
      set(svg, { width: plot.width, height: plot.height,
        viewBox: `0 0 ${plot.width} ${plot.height}` });
      frame.replaceChildren();
      const text = (x, y, string, more) =>
        make("text", { x, y, class: "playground-text", ...more }, frame, string);
      const line = (x1, x2, y1, y2) =>
        make("line", { class: "playground-axis", x1, x2, y1, y2 }, frame);
      make("rect", { class: "playground-domain", x: plot.left, y: plot.top.y0,
        width: plot.right - plot.left, height: plot.top.y1 - plot.top.y0 }, frame);
      [-1, 0, 1].forEach((y) => {
        line(plot.left, plot.right, plot.y(y), plot.y(y));
        text(plot.left - 6, plot.y(y) + 4, minus(y), { "text-anchor": "end" });
      });
      text(plot.left, 14, "the function (gray), the sum (blue), the units (thin)");
      make("path", { class: "terms-function", d: curveOf(CHECKS.map(f)) }, frame);
      places.forEach((place) => make("path", {
        class: "playground-basis", style: "stroke: var(--kl-series-3); opacity: 0.35",
        d: curveOf(column(bend, place)),
      }, frame));
      make("path", { class: "playground-curve terms-sum", d: curveOf(found.values) }, frame);
      drawErrors(text, line, history);
      handles.forEach((node, i) => set(node, {
        transform: `translate(${plot.x(places[i])} ${plot.top.y1})`,
        "aria-valuenow": places[i], "aria-valuetext": `bends at ${minus(places[i].toFixed(2))}`,
      }));
      tell(found);
    }

    function tell(found) {
      const count = state.places.length, { degree } = BENDS[state.bend];
      const units = `${count} ${count === 1 ? "unit" : "units"} and a constant: `;
      const stuck = degree && found.dimension > degree
        ? ` Stuck: all sums are polynomials of degree ${degree}, and this is the best of them.` : "";
      readout.textContent = `${units}largest error ${short(found.largest)}, ` +
        `root of the mean square ${short(found.rms)}.${stuck}`;
    }

    function drawErrors(text, line, history) {
      const { bottom } = plot;
      text(plot.left, bottom.y0 - 12, "error by number of units: largest (solid), mean (dashed)");
      [0, -1, -2, -3, -4].forEach((power) => {
        const y = plot.e(10 ** power);
        line(plot.left, plot.right, y, y);
        text(plot.left - 6, y + 4, power === 0 ? "1" : minus(`1e${power}`), {
          "text-anchor": "end" });
      });
      [0, 8, 16, 24].forEach((N) => {
        line(plot.n(N), plot.n(N), bottom.y0, bottom.y1);
        text(plot.n(N), bottom.y1 + 18, N, { "text-anchor": N === MOST ? "end" : "middle" });
      });
      ["largest", "rms"].forEach((kind) => {
        make("path", { class: `terms-${kind}`,
          d: path(history.map((one, n) => [plot.n(n), plot.e(one[kind])])) }, frame);
        make("circle", { class: "playground-dot", r: 4.5, cx: plot.n(history.length - 1),
          cy: plot.e(history[history.length - 1][kind]) }, frame);
      });
    }

    root.kanlite = state; // for the tests, and for the curious
    draw();
    if (window.ResizeObserver) new ResizeObserver(() => {
      if (Math.abs(scales().width - plot.width) > 1) draw();
    }).observe(root);
  }

  const start = () => document.querySelectorAll("[data-element=bumps-playground]").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
