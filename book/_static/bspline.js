/* A spline to touch: drag coefficients and knots, and watch curve, basis and their sum follow.

   Fills every <div data-element="bspline-playground">. Plain JavaScript and SVG, no dependency;
   works from file://. The evaluator is at window.kanliteSplines, where the tests compare it
   with SciPy. Symbols: t knots, k degree, n number of basis functions, c coefficients. */
(function () {
  "use strict";

  // --- Evaluation: the Cox-de Boor recursion, as in the chapter -------------------------------

  /** Index of the cell with t[cell] <= x < t[cell + 1]; the right end t[n] of the domain belongs
      to the last cell before it. -1 left of all knots, t.length - 1 right of them. */
  function findCell(x, t, k) {
    const n = t.length - k - 1;
    let cell = -1;
    while (cell + 1 < t.length && t[cell + 1] <= x) cell++;
    if (x === t[n]) {
      cell = n - 1;
      while (cell > 0 && t[cell] === x) cell--;
    }
    return cell;
  }

  /** All n basis functions at x; a `cell` may be given, to continue its polynomials to its ends. */
  function basis(x, t, k, cell) {
    if (cell === undefined) cell = findCell(x, t, k);
    let values = t.slice(1).map((_, i) => (i === cell ? 1 : 0));
    for (let d = 1; d <= k; d++) {
      values = values.slice(1).map((right, i) => {
        const rise = t[i + d] > t[i] ? ((x - t[i]) / (t[i + d] - t[i])) * values[i] : 0;
        const fall =
          t[i + d + 1] > t[i + 1] ? ((t[i + d + 1] - x) / (t[i + d + 1] - t[i + 1])) * right : 0;
        return rise + fall;
      });
    }
    return values;
  }

  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const evaluate = (x, t, c, k, cell) => dot(basis(x, t, k, cell), c);

  /** The point on the axis where coefficient i acts: the mean of the knots inside its support. */
  function greville(t, i, k) {
    if (k === 0) return (t[i] + t[i + 1]) / 2;
    return t.slice(i + 1, i + k + 1).reduce((sum, value) => sum + value, 0) / k;
  }

  window.kanliteSplines = { findCell, basis, evaluate, greville };

  // --- Knot vectors to start from -------------------------------------------------------------

  const INTERVALS = 5, LOW = -1, HIGH = 1, COEF_LIMIT = 1.5;
  const START = { degree: 3, preset: "uniform" };
  const START_COEF = [0.3, -0.8, -0.3, 0.9, 1.1, -0.5, -0.9, 0.6];

  const evenly = () =>
    [...Array(INTERVALS + 1).keys()].map((m) => LOW + ((HIGH - LOW) * m) / INTERVALS);

  /** Knots on the domain (at most k + 1 in one place), with k more on each side. */
  function pad(wanted, k) {
    const inner = wanted.filter((x, i) => wanted.indexOf(x) > i - k - 1);
    const h = (HIGH - LOW) / INTERVALS;
    const steps = [...Array(k).keys()].map((i) => (i + 1) * h);
    const last = inner[inner.length - 1];
    return [...steps.map((s) => inner[0] - s).reverse(), ...inner, ...steps.map((s) => last + s)];
  }

  const PRESETS = {
    uniform: { name: "uniform", knots: (k) => pad(evenly(), k) },
    clamped: {
      name: "ends repeated",
      knots: (k) => [...Array(k).fill(LOW), ...evenly(), ...Array(k).fill(HIGH)],
    },
    double: { name: "a double knot", knots: (k) => pad([-1, -0.6, -0.2, -0.2, 0.6, 1], k) },
    full: {
      name: "degree + 1 knots at 0",
      knots: (k) => pad([-1, -0.5, ...Array(k + 1).fill(0), 0.5, 1], k),
    },
    own: { name: "as you moved them", knots: (k, inner) => pad(inner || evenly(), k) },
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
  const clamp = (x, low, high) => Math.min(Math.max(x, low), Math.max(low, high));
  const round = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits);
  const color = (i) => `var(--kl-series-${(i % 6) + 1})`;
  const digits = (text, list) => String(text).replace(/\d/g, (d) => list[d]);
  const subscript = (i) => digits(i, "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089");
  const smoothClass = (r) =>
    `C${digits(r, "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")}`;
  const minus = (text) => String(text).replace(/-/g, "\u2212");

  // --- The element ----------------------------------------------------------------------------

  let serial = 0;

  function build(root) {
    const id = `bspline-${++serial}`;
    const state = { ...START, cursor: 0.1, touched: null, active: null };
    let plot; // scales of the current drawing

    const controls = make("div", { class: "playground-controls" }, root);
    function choice(name, options) {
      const box = make("span", {}, controls);
      make("label", { for: `${id}-${name}` }, box, `${name} `);
      const select = make("select", { id: `${id}-${name}` }, box);
      options.forEach(([value, text]) => make("option", { value }, select, text));
      return select;
    }
    const degreeChoice = choice("Degree", [0, 1, 2, 3, 4, 5].map((k) => [k, k]));
    const presetChoice = choice("Knots",
      Object.entries(PRESETS).map(([key, preset]) => [key, preset.name]));
    presetChoice.lastChild.disabled = true;
    const reset = make("button", { type: "button" }, controls, "Reset");

    const svg = make("svg", {
      role: "group", "aria-label": "A spline, its coefficients, its basis functions and its knots",
      class: "playground-plot",
    }, root);
    const frame = make("g", { "aria-hidden": "true" }, svg);
    const coefGroup = make("g", { role: "group", "aria-label": "Coefficients" }, svg);
    const knotGroup = make("g", { role: "group", "aria-label": "Knots" }, svg);
    const cursorHandle = make("g", {
      role: "slider", tabindex: 0, class: "playground-handle playground-cursor",
      "aria-label": "Position x",
    }, svg);

    const readout = make("div", { class: "playground-readout" }, root);
    const where = make("p", { class: "playground-where" }, readout);
    const bar = make("div", { class: "playground-bar", "aria-hidden": "true" }, readout);
    const values = make("p", { class: "playground-values" }, readout);
    const smooth = make("p", { class: "playground-smooth", "aria-live": "polite" }, readout);
    make("p", { class: "playground-help" }, root,
      "Drag the round points up and down (coefficients), the diamonds sideways (knots), and the " +
      "line at x. With the keyboard: Tab chooses a point; arrow keys, Page Up and Page Down move " +
      "it; Home and End take it as far as it goes.");

    const count = () => state.knots.length - state.degree - 1;
    const domain = () => [state.knots[state.degree], state.knots[count()]];
    const multiplicity = (x) => state.knots.filter((value) => value === x).length;

    // How far knot i may go: not past its neighbors, no more than k + 1 of them in one place
    // (else a basis function would have no support), and the domain keeps a width.
    function knotLimits(i) {
      const { knots: t, degree: k } = state, n = count();
      let low = i > 0 ? t[i - 1] : t[i + 1] - 1;
      let high = i < t.length - 1 ? t[i + 1] : t[i - 1] + 1;
      const least = 0.05, width = 0.4;
      if (i - k - 1 >= 0) low = Math.max(low, t[i - k - 1] + least);
      if (i + k + 1 < t.length) high = Math.min(high, t[i + k + 1] - least);
      if (i === k) high = Math.min(high, t[n] - width);
      if (i === n) low = Math.max(low, t[k] + width);
      return [Math.min(low, t[i]), Math.max(high, t[i])];
    }

    function moveKnot(i, x) {
      const [low, high] = knotLimits(i);
      state.knots[i] = clamp(x, low, high);
      state.touched = i;
      state.preset = "own";
      const [a, b] = [state.knots[0], state.knots[state.knots.length - 1]];
      state.cursor = clamp(state.cursor, a, b);
      draw();
    }
    function moveCoef(i, y) {
      state.coef[i] = clamp(y, -COEF_LIMIT, COEF_LIMIT);
      draw();
    }
    function moveCursor(x) {
      state.cursor = clamp(x, state.knots[0], state.knots[state.knots.length - 1]);
      draw();
    }

    /** Start again from a preset; the new coefficients are the old curve at the points where they
        act, so that its shape stays when the degree changes. */
    function restart(changes, coef) {
      const old = coef ? null : { t: state.knots, c: state.coef, k: state.degree, d: domain() };
      const inner = old && old.t.slice(old.k, old.t.length - old.k);
      Object.assign(state, changes, { touched: null });
      state.knots = PRESETS[state.preset].knots(state.degree, inner);
      state.coef = coef ? coef.slice() : [...Array(count()).keys()].map((i) => {
        const x = clamp(greville(state.knots, i, state.degree), old.d[0], old.d[1]);
        // With k + 1 knots at 0 both sides are on their own: move one, to show the jump.
        const jump = state.preset === "full" && state.knots[i] >= 0 ? 0.8 : 0;
        return clamp(evaluate(x, old.t, old.c, old.k) - jump, -COEF_LIMIT, COEF_LIMIT);
      });
      rebuildHandles();
      draw();
    }

    // --- Handles: sliders for mouse, touch and keyboard ---------------------------------------

    const KEYS = {
      ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5,
      Home: -Infinity, End: Infinity,
    };
    function wire(node, step, get, move, toValue, grab) {
      node.addEventListener("keydown", (event) => {
        if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        const jump = KEYS[event.key];
        move(Number.isFinite(jump) ? Math.round((get() + jump * step) * 1e6) / 1e6 : jump);
      });
      // A finger on a point drags the point, not the page.
      node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
      node.addEventListener("pointerdown", (event) => {
        if (event.button > 0) return;
        event.preventDefault();
        event.stopPropagation();
        node.focus({ preventScroll: true });
        node.setPointerCapture(event.pointerId);
        const start = toValue(event), offset = get() - start;
        let take = null;
        node.onpointermove = (drag) => {
          const target = toValue(drag) + offset;
          if (take === null && grab && target !== get()) take = grab(target);
          (take || move)(target);
        };
        node.onpointerup = node.onpointercancel = () => {
          node.onpointermove = node.onpointerup = node.onpointercancel = null;
        };
      });
    }
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };

    let coefHandles = [], knotHandles = [];
    function rebuildHandles() {
      coefGroup.replaceChildren();
      knotGroup.replaceChildren();
      coefHandles = state.coef.map((_, i) => {
        const node = make("g", {
          role: "slider", tabindex: 0, class: "playground-handle", "data-coef": i,
          "aria-label": `Coefficient ${i}`, "aria-orientation": "vertical",
          "aria-valuemin": round(-COEF_LIMIT), "aria-valuemax": round(COEF_LIMIT),
        }, coefGroup);
        make("circle", { r: 13, class: "playground-hit" }, node);
        make("circle", { r: 6.5, class: "playground-mark", style: `fill:${color(i)}` }, node);
        wire(node, 0.05, () => state.coef[i], (y) => moveCoef(i, y),
          (event) => plot.toY(point(event)[1]));
        const light = (on) => () => { state.active = on ? i : null; draw(); };
        node.addEventListener("focus", light(true));
        node.addEventListener("blur", light(false));
        return node;
      });
      knotHandles = state.knots.map((_, i) => {
        const node = make("g", {
          role: "slider", tabindex: 0, class: "playground-handle", "data-knot": i,
          "aria-label": `Knot ${i}`,
        }, knotGroup);
        make("circle", { r: 11, class: "playground-hit" }, node);
        make("path", { d: "M0 -6.5L6.5 0L0 6.5L-6.5 0Z", class: "playground-mark" }, node);
        // Near a neighbor the knot joins it, so that knots can be made to coincide by hand.
        const join = (j) => (x) => {
          const near = [state.knots[j - 1], state.knots[j + 1]].find(
            (other) => other !== undefined && Math.abs(plot.x(other) - plot.x(x)) < 5);
          moveKnot(j, near === undefined ? x : near);
        };
        wire(node, 0.02, () => state.knots[i], (x) => moveKnot(i, x),
          (event) => plot.toX(point(event)[0]),
          (target) => { // out of a stack, the outermost knot in the direction of the drag goes
            const here = state.knots[i], right = target > here;
            let j = i;
            while (state.knots[j + (right ? 1 : -1)] === here) j += right ? 1 : -1;
            return join(j);
          });
        node.addEventListener("focus", () => { state.touched = i; draw(); });
        return node;
      });
    }
    make("line", { class: "playground-hit-line" }, cursorHandle);
    make("line", { class: "playground-line" }, cursorHandle);
    make("path", { d: "M-7 0L7 0L0 9Z", class: "playground-mark" }, cursorHandle);
    wire(cursorHandle, 0.02, () => state.cursor, moveCursor, (event) => plot.toX(point(event)[0]));
    svg.addEventListener("pointermove", (event) => {
      const onHandle = event.target.closest(".playground-handle");
      if (event.buttons === 0 ? !onHandle : event.target === svg || !onHandle) {
        moveCursor(plot.toX(point(event)[0]));
      }
    });
    svg.addEventListener("pointerdown", (event) => moveCursor(plot.toX(point(event)[0])));

    degreeChoice.addEventListener("change", () => restart({ degree: Number(degreeChoice.value) }));
    presetChoice.addEventListener("change", () => restart({ preset: presetChoice.value }));
    reset.addEventListener("click", () => restart({ ...START, cursor: 0.1 }, START_COEF));

    // --- Drawing ------------------------------------------------------------------------------

    function scales() {
      const width = Math.max(260, Math.round(root.clientWidth - 2));
      const t = state.knots, left = 34, right = 16;
      const lo = t[0], hi = t[t.length - 1];
      const top = { y0: 24, y1: 224 }, bottom = { y0: 262, y1: 392 };
      const inner = width - left - right;
      const height = bottom.y1 + 28 + 8 * (Math.max(...t.map(multiplicity)) - 1);
      const yMax = COEF_LIMIT + 0.1;
      return {
        width, height, left, right: width - right, top, bottom,
        x: (v) => left + ((v - lo) / (hi - lo)) * inner,
        toX: (px) => lo + ((px - left) / inner) * (hi - lo),
        y: (v) => (top.y0 + top.y1) / 2 - (v / yMax) * ((top.y1 - top.y0) / 2),
        toY: (py) => (((top.y0 + top.y1) / 2 - py) / ((top.y1 - top.y0) / 2)) * yMax,
        b: (v) => bottom.y1 - (v / 1.12) * (bottom.y1 - bottom.y0),
      };
    }

    /** Path of f over the cells first..last-1, each drawn with its own polynomial, so that breaks
        stay breaks. */
    function path(f, first, last, toPixel) {
      const t = state.knots;
      let d = "";
      for (let cell = first; cell < last; cell++) {
        if (t[cell + 1] <= t[cell]) continue;
        const steps = state.degree < 2 ? 1 : 16;
        for (let s = 0; s <= steps; s++) {
          const x = t[cell] + ((t[cell + 1] - t[cell]) * s) / steps;
          d += `${s ? "L" : "M"}${plot.x(x).toFixed(2)} ${toPixel(f(x, cell)).toFixed(2)}`;
        }
      }
      return d;
    }

    function draw() {
      plot = scales();
      const { knots: t, coef: c, degree: k } = state, n = count(), [a, b] = domain();
      degreeChoice.value = k;
      presetChoice.value = state.preset;
      set(svg, { width: plot.width, height: plot.height,
        viewBox: `0 0 ${plot.width} ${plot.height}` });
      drawFrame(t, c, k, n, a, b);
      coefHandles.forEach((node, i) => set(node, {
        transform: `translate(${plot.x(greville(t, i, k))} ${plot.y(c[i])})`,
        "aria-valuenow": round(c[i]),
        "aria-valuetext": `${round(c[i])}; its basis function lives between ${round(t[i])} and ` +
          `${round(t[i + k + 1])}`,
      }));
      drawKnots(t, k);
      drawCursor(t, c, k, n, a, b);
    }

    function drawFrame(t, c, k, n, a, b) {
      frame.replaceChildren();
      const { top, bottom } = plot;
      const text = (x, y, string, more) =>
        make("text", { x, y, class: "playground-text", ...more }, frame, string);
      make("rect", { class: "playground-domain", x: plot.x(a), y: top.y0,
        width: Math.max(0, plot.x(b) - plot.x(a)), height: bottom.y1 - top.y0 }, frame);
      [...new Set(t)].forEach((x) => make("line", { class: "playground-grid", x1: plot.x(x),
        x2: plot.x(x), y1: top.y0, y2: bottom.y1 }, frame));
      [-1, 0, 1].forEach((y) => {
        make("line", { class: "playground-axis", x1: plot.left, x2: plot.right, y1: plot.y(y),
          y2: plot.y(y) }, frame);
        text(plot.left - 6, plot.y(y) + 4, minus(y), { "text-anchor": "end" });
      });
      [0, 1].forEach((y) => {
        make("line", { class: "playground-axis", x1: plot.left, x2: plot.right, y1: plot.b(y),
          y2: plot.b(y) }, frame);
        text(plot.left - 6, plot.b(y) + 4, y, { "text-anchor": "end" });
      });
      text(plot.left, 14, "spline s(x) and its coefficients");
      text(plot.left, bottom.y0 - 12, "basis functions and their sum (dashed)");
      const points = c.map((y, i) => `${plot.x(greville(t, i, k))},${plot.y(y)}`).join(" ");
      make("polyline", { class: "playground-polygon", points }, frame);
      if (state.active !== null && state.active < n) {
        const i = state.active;
        make("rect", { class: "playground-support", x: plot.x(t[i]), y: top.y0,
          width: plot.x(t[i + k + 1]) - plot.x(t[i]), height: bottom.y1 - top.y0,
          style: `fill:${color(i)}` }, frame);
      }
      c.forEach((_, i) => make("path", {
        class: "playground-basis" + (state.active === i ? " playground-strong" : ""),
        "data-basis": i, style: `stroke:${color(i)}`,
        d: path((x, cell) => basis(x, t, k, cell)[i], i, i + k + 1, plot.b),
      }, frame));
      make("path", { class: "playground-sum", d: path((x, cell) =>
        basis(x, t, k, cell).reduce((sum, v) => sum + v, 0), 0, t.length - 1, plot.b) }, frame);
      make("path", { class: "playground-curve",
        d: path((x, cell) => evaluate(x, t, c, k, cell), k, n, plot.y) }, frame);
    }

    function drawKnots(t, k) {
      const y = plot.bottom.y1 + 14;
      t.forEach((x, i) => {
        let height = 0;
        while (i - height > 0 && t[i - height - 1] === x) height++;
        const m = multiplicity(x), [low, high] = knotLimits(i);
        set(knotHandles[i], {
          transform: `translate(${plot.x(x)} ${y + height * 8})`,
          "aria-valuenow": round(x), "aria-valuemin": round(low), "aria-valuemax": round(high),
          "aria-valuetext": `${round(x)}; ${smoothness(m, k)}`,
        });
        if (m > 1 && height === m - 1) {
          make("text", { x: plot.x(x) + 10, y: y + height * 8 + 5, class: "playground-text" },
            frame, `\u00d7${m}`);
        }
      });
      smooth.textContent = knotReport(t, k);
    }

    function smoothness(m, k) {
      if (k - m < 0) return `multiplicity ${m}: the curve may jump here`;
      return `multiplicity ${m}: the curve is ${smoothClass(k - m)} here`;
    }
    function knotReport(t, k) {
      if (state.touched !== null && state.touched < t.length) {
        const x = t[state.touched], m = multiplicity(x);
        const why = k - m < 0 ? "" : ` (k \u2212 m = ${k} \u2212 ${m})`;
        return minus(`Knot at ${round(x)}: ${smoothness(m, k)}${why}.`);
      }
      const most = Math.max(...t.map(multiplicity));
      if (most === 1) return `All knots are simple. At each of them ${
        k === 0 ? "the curve may jump." : `the curve is ${smoothClass(k - 1)} (k \u2212 m = ${k} \u2212 1).`}`;
      const x = t.find((value) => multiplicity(value) === most);
      return minus(`Knot at ${round(x)}: ${smoothness(most, k)}.`);
    }

    function drawCursor(t, c, k, n, a, b) {
      const x = state.cursor, all = basis(x, t, k), s = dot(all, c);
      const total = all.reduce((sum, v) => sum + v, 0);
      const inside = x >= a && x <= b;
      set(cursorHandle, { transform: `translate(${plot.x(x)} ${plot.top.y0 - 4})`,
        "aria-valuenow": round(x), "aria-valuemin": round(t[0]),
        "aria-valuemax": round(t[t.length - 1]),
        "aria-valuetext": `${round(x)}; spline ${round(s)}, basis functions add up to ` +
          `${round(total)}` });
      cursorHandle.querySelectorAll("line").forEach((line) =>
        set(line, { x1: 0, x2: 0, y1: 0, y2: plot.bottom.y1 - plot.top.y0 + 4 }));
      if (inside) make("circle", { class: "playground-dot", cx: plot.x(x), cy: plot.y(s), r: 4 },
        frame);
      const cell = findCell(x, t, k);
      where.textContent = minus(`x = ${round(x)}: `) + (inside
        ? minus(`s(x) = ${round(s, 3)}. In this cell ${k + 1} of ${n} basis functions are ` +
          `active, and they add up to ${round(total, 3)}:`)
        : `outside the domain, where fewer than ${k + 1} basis functions live; they add up to ` +
          `${round(total, 3)}:`);
      bar.replaceChildren();
      values.replaceChildren();
      for (let i = Math.max(0, cell - k); i <= Math.min(n - 1, cell); i++) {
        make("span", { style: `width:${100 * all[i]}%;background:${color(i)}` }, bar);
        const item = make("span", { class: "playground-value", "data-value": all[i] }, values);
        make("span", { class: "playground-swatch", style: `background:${color(i)}` }, item);
        item.append(minus(`B${subscript(i)}(x) = ${round(all[i], 3)}`));
      }
    }

    root.kanlite = state; // for the tests, and for the curious
    restart({ ...START }, START_COEF);
    if (window.ResizeObserver) new ResizeObserver(() => {
      if (!plot || Math.abs(scales().width - plot.width) > 1) draw();
    }).observe(root);
  }

  const start = () => document.querySelectorAll("[data-element=bspline-playground]").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
