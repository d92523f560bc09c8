/* Five towns to walk in: a point of the square, the towns that have a block there, and the steps
   of the proof, which leave two thirds of the error each time.

   Fills every <div data-element="towns-playground">. Plain JavaScript and SVG, no dependency;
   works from file://. The computation is at window.kanliteTowns, where the tests repeat it.
   Symbols: N blocks per side, k town, u = 1 / (5 N) width of a street, r heights, h outer
   function; f is known at GRID x GRID points, and all errors are measured there. */
(function () {
  "use strict";

  const TOWNS = 5, GRID = 40, ROOT = Math.SQRT2;

  // --- The mathematics of the chapter ---------------------------------------------------------

  /** Where x is in town k: interval i and its part along the street that follows it (0: in the
      interval), found in units of u. */
  function place(x, k, N) {
    const v = 5 * N * x - k, m = Math.floor(v / 5), part = v - 5 * m;
    if (part === 0) return { i: m, part: 0 };
    return part >= 1 ? { i: m + 1, part: 0 } : { i: m, part };
  }

  /** Ends of interval i of town k. */
  const ends = (k, i, N) =>
    [5 * (i - 1) + k + 1, 5 * i + k].map((v) => Math.min(Math.max(v / (5 * N), 0), 1));

  /** Heights r[k][i] of the lemma "A finer town", for phi(x) = x and Q = 4 N - 1. */
  function heights(N) {
    const Q = 4 * N - 1;
    return [...Array(TOWNS).keys()].map((k) => [...Array(N + 1).keys()].map((i) => {
      const left = i ? 5 * (i - 1) + k + 1 : 0;
      return (Math.floor((Q * left) / (5 * N)) + (5 * i + k) / (5 * (N + 1))) / (Q + 1);
    }));
  }

  /** The towns with a block at (x, y). */
  const votes = (x, y, N) => [...Array(TOWNS).keys()]
    .filter((k) => place(x, k, N).part === 0 && place(y, k, N).part === 0);

  const points = [...Array(GRID).keys()].map((i) => (i + 0.5) / GRID);
  const sample = (f) => points.map((x) => points.map((y) => f(x, y)));
  const size = (values) => Math.max(...values.map((row) => Math.max(...row.map(Math.abs))));

  /** One step of the lemma "One step": the new residual, omega, and what is left. */
  function step(values, N) {
    const r = heights(N), images = [];
    let omega = 0;
    for (let k = 0; k < TOWNS; k++) {
      const inside = [...Array(N + 1).keys()].map((i) => {
        const [a, b] = ends(k, i, N);
        const here = points.map((_, p) => p).filter((p) => points[p] >= a && points[p] <= b);
        const middle = (a + b) / 2;
        here.center = here.reduce((best, p) => best === null ||
          Math.abs(points[p] - middle) < Math.abs(points[best] - middle) ? p : best, null);
        return here;
      });
      inside.forEach((across, i) => inside.forEach((along, l) => {
        if (across.center === null || along.center === null) return; // no point lives here
        const value = values[across.center][along.center];
        across.forEach((p) => along.forEach((q) => {
          omega = Math.max(omega, Math.abs(values[p][q] - value));
        }));
        images.push([r[k][i] + ROOT * r[k][l], value / 3]);
      }));
    }
    images.sort((a, b) => a[0] - b[0]);
    const phi = (k, x) => {
      const { i, part } = place(x, k, N);
      return part ? r[k][i] + part * (r[k][i + 1] - r[k][i]) : r[k][i];
    };
    const table = points.map((x) => [...Array(TOWNS).keys()].map((k) => phi(k, x)));
    const next = values.map((row, p) => row.map((value, q) => {
      let left = value;
      for (let k = 0; k < TOWNS; k++) left -= outer(images, table[p][k] + ROOT * table[q][k]);
      return left;
    }));
    const before = size(values);
    return { values: next, omega, before, after: size(next),
      promise: 2 / 3 + (5 / 3) * (before ? omega / before : 0) };
  }

  /** h: the given values at the images, linear in between, constant outside. */
  function outer(images, s) {
    let low = 0, high = images.length - 1;
    if (s <= images[low][0]) return images[low][1];
    if (s >= images[high][0]) return images[high][1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (images[middle][0] <= s) low = middle; else high = middle;
    }
    const [a, v] = images[low], [b, w] = images[high];
    return v + ((s - a) / (b - a)) * (w - v);
  }

  window.kanliteTowns = { heights, votes, step, sample, points };

  const FUNCTIONS = {
    wave: { name: "a wave", f: (x, y) => Math.cos(3 * x + 2 * y) },
    product: { name: "the product xy", f: (x, y) => x * y },
    hill: {
      name: "a hill",
      f: (x, y) => Math.exp(-8 * ((x - 0.5) * (x - 0.5) + (y - 0.5) * (y - 0.5))),
    },
  };

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
  const clamp = (x) => Math.min(Math.max(x, 0), 1);
  const color = (k) => `var(--kl-series-${k + 1})`;
  const list = (towns) => towns.length < 2 ? towns.join("")
    : `${towns.slice(0, -1).join(", ")} and ${towns[towns.length - 1]}`;
  const NUMBER = ["none", "one", "two", "three", "four", "five"];

  // --- The element ----------------------------------------------------------------------------

  let serial = 0;

  function build(root) {
    const id = `towns-${++serial}`;
    const state = { x: 0.33, y: 0.62, N: 4, name: "wave", town: "", values: null, history: [] };
    let plot;

    const controls = make("div", { class: "playground-controls" }, root);
    function choice(name, options) {
      const box = make("span", {}, controls);
      make("label", { for: `${id}-${name.replace(/\W/g, "")}` }, box, `${name} `);
      const select = make("select", { id: `${id}-${name.replace(/\W/g, "")}` }, box);
      options.forEach(([value, text]) => make("option", { value }, select, text));
      return select;
    }
    const functionChoice = choice("Function",
      Object.entries(FUNCTIONS).map(([key, entry]) => [key, entry.name]));
    const sizeChoice = choice("N", [1, 2, 4, 8, 16, 32, 64].map((N) => [N, N]));
    const townChoice = choice("Show town",
      [["", "none"], ...[...Array(TOWNS).keys()].map((k) => [k, k])]);
    const forward = make("button", { type: "button" }, controls, "Next step");
    const again = make("button", { type: "button" }, controls, "Start again");

    const svg = make("svg", {
      role: "group", class: "playground-plot",
      "aria-label": "The square with the error in color, and the error after each step",
    }, root);
    const heat = make("g", { "aria-hidden": "true", "shape-rendering": "crispEdges" }, svg);
    const cells = points.map(() => points.map(() => make("rect", {}, heat)));
    const frame = make("g", { "aria-hidden": "true" }, svg);
    const handle = make("g", {
      role: "slider", tabindex: 0, class: "playground-handle", "aria-label": "Point of the square",
      "aria-valuemin": 0, "aria-valuemax": 1,
    }, svg);
    make("circle", { r: 14, class: "playground-hit" }, handle);
    make("circle", { r: 7, class: "playground-mark" }, handle);

    const readout = make("div", { class: "playground-readout" }, root);
    const where = make("p", { class: "playground-where" }, readout);
    const values = make("p", { class: "playground-values" }, readout);
    const report = make("p", { class: "playground-report", "aria-live": "polite" }, readout);
    make("p", { class: "playground-help" }, root,
      "Drag the point, or choose it with Tab and move it with the arrow keys (with Shift: in " +
      "small steps). Colors show the error that is left, blue above zero and orange below. Each " +
      `step makes its own inner functions; errors are measured at ${GRID} by ${GRID} points.`);

    // --- What the reader does -----------------------------------------------------------------

    function restart() {
      state.values = sample(FUNCTIONS[state.name].f);
      state.history = [{ after: size(state.values) }];
      drawAll();
    }
    function move(x, y) {
      [state.x, state.y] = [x, y].map((v) => Math.round(clamp(v) * 1e6) / 1e6);
      drawFrame();
    }
    const KEYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    handle.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const by = event.shiftKey ? 0.002 : 0.02, [dx, dy] = KEYS[event.key];
      move(state.x + by * dx, state.y + by * dy);
    });
    const follow = (event) => {
      const box = svg.getBoundingClientRect();
      move((event.clientX - box.left - plot.left) / plot.side,
        1 - (event.clientY - box.top - plot.top) / plot.side);
    };
    handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      const box = svg.getBoundingClientRect();
      const onHandle = event.target.closest(".playground-handle");
      if (event.button > 0 || !(onHandle || event.clientX - box.left < plot.left + plot.side)) return;
      if (event.pointerType !== "touch" || onHandle) {
        svg.setPointerCapture(event.pointerId);
        svg.onpointermove = follow;
        svg.onpointerup = svg.onpointercancel = () => {
          svg.onpointermove = svg.onpointerup = svg.onpointercancel = null;
        };
      }
      handle.focus({ preventScroll: true });
      event.preventDefault();
      follow(event);
    });
    functionChoice.addEventListener("change", () => {
      state.name = functionChoice.value;
      restart();
    });
    sizeChoice.addEventListener("change", () => {
      state.N = Number(sizeChoice.value);
      drawAll();
    });
    townChoice.addEventListener("change", () => {
      state.town = townChoice.value;
      drawFrame();
    });
    forward.addEventListener("click", () => {
      const done = step(state.values, state.N);
      state.values = done.values;
      state.history.push({ N: state.N, ...done, values: undefined });
      drawAll();
    });
    again.addEventListener("click", () => {
      Object.assign(state, { x: 0.33, y: 0.62, N: 4, name: "wave", town: "" });
      restart();
    });

    // --- Drawing ------------------------------------------------------------------------------

    function scales() {
      const width = Math.max(260, Math.round(root.clientWidth - 2));
      const beside = width >= 560, side = Math.min(beside ? width * 0.5 : width - 50, 380);
      const left = 24, top = 8;
      const chart = beside
        ? { x0: left + side + 64, x1: width - 12, y0: top + 18, y1: top + side }
        : { x0: left + 36, x1: width - 12, y0: top + side + 56, y1: top + side + 196 };
      return { width, height: chart.y1 + 34, side, left, top, chart,
        x: (v) => left + v * side, y: (v) => top + (1 - v) * side };
    }

    function drawAll() {
      plot = scales();
      set(svg, { width: plot.width, height: plot.height,
        viewBox: `0 0 ${plot.width} ${plot.height}` });
      functionChoice.value = state.name;
      sizeChoice.value = state.N;
      townChoice.value = state.town;
      const cell = plot.side / GRID, full = state.history[0].after || 1;
      cells.forEach((row, p) => row.forEach((rect, q) => {
        const value = state.values[p][q] / full;
        set(rect, { x: plot.left + p * cell, y: plot.top + plot.side - (q + 1) * cell,
          width: cell, height: cell, "fill-opacity": Math.min(Math.abs(value), 1),
          class: value > 0 ? "towns-above" : "towns-below" });
      }));
      drawFrame();
      report.textContent = reportText();
    }

    function drawFrame() {
      frame.replaceChildren();
      const { N, x, y } = state, { left, top, side } = plot;
      if (state.town !== "") drawBlocks(Number(state.town), N);
      const rect = (x0, y0, width, height, more) =>
        make("rect", { x: x0, y: y0, width, height, ...more }, frame);
      const streets = [x, y].map((v) =>
        [...Array(TOWNS).keys()].filter((k) => place(v, k, N).part > 0));
      [x, y].forEach((v, axis) => streets[axis].forEach((k) => {
        const low = (5 * place(v, k, N).i + k) / (5 * N), wide = side / (5 * N);
        const style = { class: "towns-street", style: `fill:${color(k)}` };
        if (axis === 0) rect(plot.x(low), top, wide, side, style);
        else rect(left, plot.y(low) - wide, side, wide, style);
      }));
      rect(left, top, side, side, { class: "towns-edge" });
      const text = (px, py, string, more) =>
        make("text", { x: px, y: py, class: "playground-text", ...more }, frame, string);
      text(left, top + side + 16, "0");
      text(left + side, top + side + 16, "1", { "text-anchor": "end" });
      text(left + side / 2, top + side + 16, "x", { "text-anchor": "middle" });
      text(left - 6, top + side, "0", { "text-anchor": "end" });
      text(left - 6, top + 10, "1", { "text-anchor": "end" });
      text(left - 6, top + side / 2, "y", { "text-anchor": "end" });
      drawChart(text);

      const here = votes(x, y, N);
      set(handle, { transform: `translate(${plot.x(x)} ${plot.y(y)})`, "aria-valuenow": x,
        "aria-valuetext": `x ${x.toFixed(3)}, y ${y.toFixed(3)}; ${NUMBER[here.length]} of five ` +
          "towns have a block here" });
      where.textContent = `At x = ${x.toFixed(3)}, y = ${y.toFixed(3)}, ${NUMBER[here.length]} of ` +
        `five towns have a block: ${list(here)}.`;
      values.replaceChildren();
      for (let k = 0; k < TOWNS; k++) {
        const on = ["x", "y"].filter((_, axis) => streets[axis].includes(k));
        const item = make("span", { class: "playground-value", "data-town": k,
          "data-vote": here.includes(k) }, values);
        make("span", { class: "playground-swatch", style: `background:${color(k)}` }, item);
        item.append(`town ${k}: ${on.length ? `street (by its ${on.join(" and ")})` : "block"}`);
      }
    }

    function drawBlocks(k, N) {
      for (let i = 0; i <= N; i++) for (let l = 0; l <= N; l++) {
        const [a, b] = ends(k, i, N), [c, d] = ends(k, l, N);
        make("rect", { x: plot.x(a), y: plot.y(d), width: plot.side * (b - a),
          height: plot.side * (d - c), class: "towns-block", style: `stroke:${color(k)}` }, frame);
      }
    }

    function drawChart(text) {
      const { x0, x1, y0, y1 } = plot.chart, steps = Math.max(8, state.history.length - 1);
      const full = state.history[0].after || 1;
      const decades = Math.max(2, Math.ceil(-Math.log10(
        Math.min(...state.history.map((entry) => entry.after / full || 1)))));
      const px = (r) => x0 + (r / steps) * (x1 - x0);
      const py = (share) =>
        y0 + Math.min(-Math.log10(Math.max(share, 1e-99)) / decades, 1) * (y1 - y0);
      text(x0, y0 - 8, "share of the error that is left");
      for (let d = 0; d <= decades; d++) {
        const v = 10 ** -d;
        make("line", { class: "playground-axis", x1: x0, x2: x1, y1: py(v), y2: py(v) }, frame);
        text(x0 - 6, py(v) + 4, String(v), { "text-anchor": "end" });
      }
      for (let r = 0; r <= steps; r += Math.ceil(steps / 8)) {
        text(px(r), y1 + 18, String(r), { "text-anchor": "middle" });
      }
      text((x0 + x1) / 2, y1 + 32, "steps", { "text-anchor": "middle" });
      const guide = [...Array(steps + 1).keys()].map((r) => `${px(r)},${py((2 / 3) ** r)}`);
      make("polyline", { class: "playground-sum", points: guide.join(" ") }, frame);
      state.history.forEach((entry, r) => {
        if (r && entry.promise < 1) {
          const y = py((entry.promise * entry.before) / full);
          make("line", { class: "towns-promise", x1: px(r) - 6, x2: px(r) + 6, y1: y, y2: y }, frame);
        }
        make("circle", { class: "playground-dot", cx: px(r), cy: py(entry.after / full), r: 4 },
          frame);
      });
    }

    function reportText() {
      const r = state.history.length - 1, last = state.history[r];
      if (r === 0) return "No step yet. The dashed line falls to two thirds in each step.";
      const left = (last.after / last.before || 0).toFixed(3);
      const promise = last.promise < 1
        ? `at most ${last.promise.toFixed(3)} was promised`
        : `nothing was promised, since ω is too large (2/3 + 5/3 ω/‖f‖ = ${last.promise.toFixed(2)})`;
      return `Step ${r}, with N = ${last.N}: ${left} of the error is left; ${promise}.`;
    }

    root.kanlite = state; // for the tests, and for the curious
    restart();
    if (window.ResizeObserver) new ResizeObserver(() => {
      if (Math.abs(scales().width - plot.width) > 1) drawAll();
    }).observe(root);
  }

  const start = () => document.querySelectorAll("[data-element=towns-playground]").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
