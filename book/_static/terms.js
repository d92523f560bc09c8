/* Terms to count: a function, a recipe (Bernstein, Fourier, Chebyshev), a number of terms, and
   the error that remains.

   Fills every <div data-element="terms-playground">. Plain JavaScript and SVG, no dependency;
   works from file://. The arithmetic is at window.kanliteTerms, where the tests compare it with
   NumPy. Symbols: x in [-1, 1], N degree or highest frequency, c coefficients. */
(function () {
  "use strict";

  // --- Arithmetic, as in the chapter ----------------------------------------------------------

  const SAMPLES = 2048; // of the function, where coefficients are integrals
  const range = (n) => [...Array(n).keys()];

  /** Values of f at 0, 1/N, ..., 1 of the interval. */
  const bernsteinCoefficients = (f, N) => range(N + 1).map((j) => f(-1 + (2 * j) / N));

  /** De Casteljau: neighbors are averaged until one number is left. */
  function bernsteinValue(c, x) {
    const u = (x + 1) / 2, row = c.slice();
    for (let m = row.length - 1; m > 0; m--) {
      for (let j = 0; j < m; j++) row[j] = (1 - u) * row[j] + u * row[j + 1];
    }
    return row[0];
  }

  /** Pairs [a_j, b_j] of cos(j pi x) and sin(j pi x), by the midpoint rule; a_0 is the mean. */
  function fourierCoefficients(f, N) {
    const x = range(SAMPLES).map((k) => -1 + (2 * k + 1) / SAMPLES), values = x.map(f);
    return range(N + 1).map((j) => {
      let a = 0, b = 0;
      values.forEach((y, k) => {
        a += y * Math.cos(j * Math.PI * x[k]);
        b += y * Math.sin(j * Math.PI * x[k]);
      });
      return [(a * (j ? 2 : 1)) / SAMPLES, (2 * b) / SAMPLES];
    });
  }
  const fourierValue = (c, x) => c.reduce((sum, [a, b], j) =>
    sum + a * Math.cos(j * Math.PI * x) + b * Math.sin(j * Math.PI * x), 0);

  /** Coefficients of T_0, ..., T_N: f(cos t) in cosines, by the midpoint rule. */
  function chebyshevCoefficients(f, N) {
    const t = range(SAMPLES).map((k) => (Math.PI * (k + 0.5)) / SAMPLES);
    const values = t.map((angle) => f(Math.cos(angle)));
    return range(N + 1).map((j) => {
      const sum = values.reduce((total, y, k) => total + y * Math.cos(j * t[k]), 0);
      return (sum * (j ? 2 : 1)) / SAMPLES;
    });
  }
  const chebyshevValue = (c, x) => {
    const t = Math.acos(Math.min(1, Math.max(-1, x)));
    return c.reduce((sum, a, j) => sum + a * Math.cos(j * t), 0);
  };

  /** Each recipe: N -> coefficients, coefficients and x -> value. Prefixes of nested ones. */
  const METHODS = {
    bernstein: { name: "Bernstein", coefficients: bernsteinCoefficients, value: bernsteinValue },
    fourier: {
      name: "Fourier", coefficients: fourierCoefficients, value: fourierValue, nested: true,
    },
    chebyshev: {
      name: "Chebyshev", coefficients: chebyshevCoefficients, value: chebyshevValue, nested: true,
    },
  };

  /** The straight lines through the points of an equally spaced grid on [-1, 1]. */
  function polyline(heights) {
    return (x) => {
      const place = ((x + 1) / 2) * (heights.length - 1);
      const i = Math.min(Math.max(Math.floor(place), 0), heights.length - 2), s = place - i;
      return (1 - s) * heights[i] + s * heights[i + 1];
    };
  }

  const FUNCTIONS = {
    bump: { name: "a smooth bump", f: (x) => Math.exp(-8 * (x - 0.2) ** 2) },
    kink: { name: "a kink", f: (x) => 1 - 2 * Math.abs(x) },
    step: { name: "a step", f: (x) => (x < 0 ? -1 : 1), jumps: true },
    ramp: { name: "a ramp", f: (x) => x },
    own: { name: "your own" },
  };

  // Where errors are measured; kink and jump at 0 and both ends are among the points.
  const CHECKS = range(401).map((k) => -1 + k / 200);
  function errors(f, method, c) {
    let largest = 0, squares = 0, highest = -Infinity;
    CHECKS.forEach((x) => {
      const y = METHODS[method].value(c, x), gap = Math.abs(y - f(x));
      largest = Math.max(largest, gap);
      squares += gap * gap;
      highest = Math.max(highest, y);
    });
    return { largest, rms: Math.sqrt(squares / CHECKS.length), highest };
  }

  window.kanliteTerms = { METHODS, FUNCTIONS, errors, polyline };

  // --- Small helpers --------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";
  function make(tag, attributes, parent, text) {
    const html = ["div", "p", "label", "select", "option", "button", "span", "input"].includes(tag);
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
  function short(x) {
    if (x >= 0.001) return x.toPrecision(3);
    if (x < 1e-13) return "below rounding";
    const power = Math.floor(Math.log10(x));
    const raised = String(power).replace(/-/, "\u207b").replace(/\d/g,
      (d) => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[d]);
    return `${(x / 10 ** power).toFixed(1)}\u00b710${raised}`;
  }

  // --- The element ----------------------------------------------------------------------------

  const MOST = 64, LIMIT = 1.5, FLOOR = 1e-6;
  const START = { method: "bernstein", shape: "kink", N: 8 };
  const HEIGHTS = [-0.4, 0.3, 0.9, 0.5, -0.6, -0.9, 0.1, 0.8, 0.2];
  const TRIED = [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64];
  let serial = 0;

  function build(root) {
    const id = `terms-${++serial}`;
    const state = { ...START, heights: HEIGHTS.slice() };
    let plot, known = { key: null };

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
    const methodChoice = choice("Recipe", METHODS);
    const numberBox = make("span", { class: "playground-slider" }, controls);
    const label = make("label", { for: `${id}-N` }, numberBox, "N");
    const slider = make("input", { id: `${id}-N`, type: "range", min: 1, max: MOST, step: 1 },
      numberBox);
    const reset = make("button", { type: "button" }, controls, "Reset");

    const svg = make("svg", {
      role: "group", class: "playground-plot",
      "aria-label": "A function and its approximation, and below, how the error falls with N",
    }, root);
    const frame = make("g", { "aria-hidden": "true" }, svg);
    const pointGroup = make("g", { role: "group", "aria-label": "Points of your function" }, svg);
    const readout = make("p", { class: "playground-where", "aria-live": "polite" }, root);
    make("p", { class: "playground-help" }, root,
      "Choose a function and a recipe, and move N: the degree of the polynomial, or the highest " +
      "frequency of the waves. With \u201cyour own\u201d, drag the round points up and down, or " +
      "reach them with Tab and move them with the arrow keys.");

    const target = () =>
      state.shape === "own" ? polyline(state.heights) : FUNCTIONS[state.shape].f;

    /** Coefficients for any N; those of nested recipes are computed once for all N. */
    function coefficients(N) {
      const key = `${state.method} ${state.shape} ${state.shape === "own" ? state.heights : ""}`;
      const f = target(), method = METHODS[state.method];
      if (known.key !== key) {
        known = { key, all: method.nested ? method.coefficients(f, MOST) : null };
        known.curve = TRIED.map((n) => errors(f, state.method, coefficients(n)));
      }
      return known.all ? known.all.slice(0, N + 1) : method.coefficients(f, N);
    }

    // --- The points of the reader's own function ----------------------------------------------

    const KEYS = {
      ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5,
      Home: -Infinity, End: Infinity,
    };
    function raise(i, y) {
      state.heights[i] = clamp(Math.round(y * 100) / 100, -LIMIT, LIMIT);
      draw();
    }
    const points = HEIGHTS.map((_, i) => {
      const node = make("g", {
        role: "slider", tabindex: 0, class: "playground-handle", "data-point": i,
        "aria-label": `Point ${i + 1}`, "aria-orientation": "vertical",
        "aria-valuemin": -LIMIT, "aria-valuemax": LIMIT,
      }, pointGroup);
      make("circle", { r: 13, class: "playground-hit" }, node);
      make("circle", { r: 6.5, class: "playground-mark" }, node);
      node.addEventListener("keydown", (event) => {
        if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        const jump = KEYS[event.key];
        raise(i, Number.isFinite(jump) ? state.heights[i] + 0.05 * jump : jump);
      });
      node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
      node.addEventListener("pointerdown", (event) => {
        if (event.button > 0) return;
        event.preventDefault();
        node.focus({ preventScroll: true });
        node.setPointerCapture(event.pointerId);
        const height = (moved) => plot.toY(moved.clientY - svg.getBoundingClientRect().top);
        const offset = state.heights[i] - height(event);
        node.onpointermove = (moved) => raise(i, height(moved) + offset);
        node.onpointerup = node.onpointercancel = () => {
          node.onpointermove = node.onpointerup = node.onpointercancel = null;
        };
      });
      return node;
    });

    shapeChoice.addEventListener("change", () => { state.shape = shapeChoice.value; draw(); });
    methodChoice.addEventListener("change", () => { state.method = methodChoice.value; draw(); });
    slider.addEventListener("input", () => { state.N = Number(slider.value); draw(); });
    reset.addEventListener("click", () => {
      Object.assign(state, START, { heights: HEIGHTS.slice() });
      draw();
    });

    // --- Drawing ------------------------------------------------------------------------------

    function scales() {
      const width = Math.max(260, Math.round(root.clientWidth - 2));
      const left = 44, right = 16, inner = width - left - right;
      const top = { y0: 24, y1: 234 }, bottom = { y0: 276, y1: 376 };
      const decades = -Math.log10(FLOOR);
      return {
        width, height: bottom.y1 + 26, left, right: width - right, top, bottom,
        x: (v) => left + ((v + 1) / 2) * inner,
        y: (v) => (top.y0 + top.y1) / 2 - (v / 1.6) * ((top.y1 - top.y0) / 2),
        toY: (py) => (((top.y0 + top.y1) / 2 - py) / ((top.y1 - top.y0) / 2)) * 1.6,
        n: (N) => left + (Math.log2(N) / Math.log2(MOST)) * inner,
        e: (v) => bottom.y0 +
          clamp((0.3 - Math.log10(Math.max(v, 1e-300))) / (decades + 0.3), 0, 1) *
            (bottom.y1 - bottom.y0),
      };
    }
    const path = (list) =>
      list.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(2)} ${py.toFixed(2)}`).join("");

    /** The curve of f, with a break where it jumps. */
    function curveOf(f, jumps) {
      const sides = jumps ? [[-1, -1e-9], [0, 1]] : [[-1, 1]];
      return sides.map(([a, b]) => path(range(201).map((k) => {
        const x = a + ((b - a) * k) / 200;
        return [plot.x(x), plot.y(f(x))];
      }))).join("");
    }

    function draw() {
      plot = scales();
      const { method, shape, N } = state, f = target(), c = coefficients(N);
      const found = errors(f, method, c), recipe = METHODS[method];
      shapeChoice.value = shape;
      methodChoice.value = method;
      slider.value = N;
      label.textContent = `N = ${N}`;
      slider.setAttribute("aria-valuetext", `${N}; largest error ${short(found.largest)}`);
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
      text(plot.left, 14, `the function (gray) and its approximation: ${recipe.name}`);
      make("path", { class: "terms-function", d: curveOf(f, FUNCTIONS[shape].jumps) }, frame);
      make("path", { class: "playground-curve terms-sum", d: path(range(601).map((k) => {
        const x = -1 + (2 * k) / 600;
        return [plot.x(x), plot.y(recipe.value(c, x))];
      })) }, frame);
      drawErrors(text, line, found);
      points.forEach((node, i) => {
        set(node, {
          transform: `translate(${plot.x(-1 + i / 4)} ${plot.y(state.heights[i])})`,
          "aria-valuenow": state.heights[i], "aria-valuetext": minus(state.heights[i].toFixed(2)),
        });
      });
      pointGroup.style.display = shape === "own" ? "" : "none";
      const count = method === "fourier" ? `${2 * N + 1} coefficients` : `${N + 1} coefficients`;
      readout.textContent = minus(`${recipe.name}, N = ${N} (${count}): largest error `) +
        `${short(found.largest)}, root of the mean square ${short(found.rms)}, highest point ` +
        `${minus(found.highest.toFixed(3))}.`;
    }

    function drawErrors(text, line, found) {
      const { bottom } = plot;
      text(plot.left, bottom.y0 - 12, "error against N: largest (solid), mean square (dashed)");
      [0, -2, -4, -6].forEach((power) => {
        const y = plot.e(10 ** power);
        line(plot.left, plot.right, y, y);
        text(plot.left - 6, y + 4, power === 0 ? "1" : minus(`1e${power}`), {
          "text-anchor": "end" });
      });
      [1, 4, 16, 64].forEach((N) => {
        line(plot.n(N), plot.n(N), bottom.y0, bottom.y1);
        text(plot.n(N), bottom.y1 + 18, N, { "text-anchor": N === MOST ? "end" : "middle" });
      });
      ["largest", "rms"].forEach((kind) => {
        make("path", { class: `terms-${kind}`, d: path(TRIED.map((N, i) =>
          [plot.n(N), plot.e(known.curve[i][kind])])) }, frame);
        make("circle", { class: "playground-dot", r: 4.5, cx: plot.n(state.N),
          cy: plot.e(found[kind]) }, frame);
      });
    }

    root.kanlite = state; // for the tests, and for the curious
    draw();
    if (window.ResizeObserver) new ResizeObserver(() => {
      if (Math.abs(scales().width - plot.width) > 1) draw();
    }).observe(root);
  }

  const start = () => document.querySelectorAll("[data-element=terms-playground]").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
