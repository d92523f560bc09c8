/* Sprecher's inner function, magnified digit by digit, in exact integers.

   Fills every <div data-element="digits-playground">. Plain JavaScript and SVG, no dependency;
   works from file://. The computation is at window.kanliteDigits, where the tests compare it with
   kanlite. Two variables: beta(k) = 2^k - 1. A cell is the set of numbers that begin with the
   digits chosen so far; its values are integers (BigInt) over one denominator. */
(function () {
  "use strict";

  const DEEPEST = 10;

  // --- The inner function, as in the chapter --------------------------------------------------

  const beta = (k) => 2 ** k - 1;

  /** The cell of the given digits: psi at its base + 1 subdivisions, over `den`. */
  function cell(base, digits) {
    const b = BigInt(base);
    let low = 0n, high = 1n, den = 1n, values;
    for (let k = 1; k <= digits.length + 1; k++) {
      if (k === 1) {
        den = b;
        values = [...Array(base + 1).keys()].map(BigInt);
      } else {
        const factor = 2n * b ** BigInt(beta(k) - beta(k - 1)), unit = 2n ** BigInt(k - 1);
        [low, high, den] = [low * factor, high * factor, den * factor];
        values = [...Array(base - 1).keys()].map((i) => low + BigInt(i) * unit);
        values.push((values[base - 2] + high) / 2n, high);
      }
      if (k <= digits.length) [low, high] = [values[digits[k - 1]], values[digits[k - 1] + 1]];
    }
    return { values, den };
  }

  /** log10 of a positive BigInt. */
  function log10(n) {
    const text = n.toString(), lead = Number(text.slice(0, 16));
    return Math.log10(lead) + text.length - Math.min(text.length, 16);
  }
  /** The double nearest to num / den, for numbers from 0 on. */
  function toDouble(num, den) {
    if (num === 0n) return 0;
    const shift = 64 + den.toString(2).length - num.toString(2).length;
    const scaled = (num << BigInt(Math.max(shift, 0))) / den;
    return Number(scaled) * 2 ** -Math.max(shift, 0);
  }
  /** num / den in [0, 1], good enough to draw. */
  const share = (num, den) => Number((num * 10n ** 15n) / den) / 1e15;

  /** Width and rise of a cell as powers of ten; the exponent by which its last digit made the
      rise shrink as the width shrank by the base; whether doubles see both ends as one. */
  function report(base, digits) {
    const { values, den } = cell(base, digits), low = values[0], high = values[base];
    const width = -digits.length * Math.log10(base);
    const rise = log10(high - low) - log10(den);
    let exponent = NaN;
    if (digits.length) {
      const before = cell(base, digits.slice(0, -1));
      const whole = log10(before.values[base] - before.values[0]) - log10(before.den);
      exponent = (whole - rise) / Math.log10(base);
    }
    return { width, rise, exponent, same: toDouble(low, den) === toDouble(high, den) };
  }

  window.kanliteDigits = {
    cell: (base, digits) => {
      const { values, den } = cell(base, digits);
      return { values: values.map(String), den: String(den) };
    },
    report,
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
  const superscript = (n) => String(n).replace(/-/g, "\u207b")
    .replace(/\d/g, (d) => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[d]);
  function power(exponent) {
    const whole = Math.floor(exponent + 1e-9);
    if (whole >= -2) return (10 ** exponent).toFixed(3);
    return `${(10 ** (exponent - whole)).toFixed(2)} \u00b7 10${superscript(whole)}`;
  }
  const percent = (value) => (value < 0.001 ? "almost nothing" : `${(100 * value).toFixed(1)} %`);
  const written = (digits) => `0.${digits.join("")}`;

  // --- The element ----------------------------------------------------------------------------

  let serial = 0;

  function build(root) {
    const id = `digits-${++serial}`;
    const state = { base: 6, digits: [], choice: 5 };
    let plot, shares = [];

    const controls = make("div", { class: "playground-controls" }, root);
    const box = make("span", {}, controls);
    make("label", { for: `${id}-base` }, box, "Base ");
    const baseChoice = make("select", { id: `${id}-base` }, box);
    [6, 10].forEach((base) => make("option", { value: base }, baseChoice, base));
    const magnify = make("button", { type: "button" }, controls, "Magnify");
    const back = make("button", { type: "button" }, controls, "Back");
    const again = make("button", { type: "button" }, controls, "Start again");

    const svg = make("svg", {
      role: "group", class: "playground-plot",
      "aria-label": "The inner function on the numbers that begin with the chosen digits",
    }, root);
    const frame = make("g", { "aria-hidden": "true" }, svg);
    const handle = make("g", {
      role: "slider", tabindex: 0, class: "playground-handle", "aria-label": "Next digit",
      "aria-valuemin": 0,
    }, svg);
    const mark = make("rect", { class: "digits-choice playground-hit" }, handle);

    const readout = make("div", { class: "playground-readout" }, root);
    const where = make("p", { class: "playground-where" }, readout);
    const chosen = make("p", { class: "playground-where" }, readout);
    const doubles = make("p", { class: "playground-report", "aria-live": "polite" }, readout);
    make("p", { class: "playground-help" }, root,
      "Choose a digit by a click or with the arrow keys; magnify with a second click, with Enter " +
      "or the button; go back with Backspace or the button. All values are exact integers.");

    // --- What the reader does -----------------------------------------------------------------

    function choose(digit) {
      state.choice = Math.min(Math.max(digit, 0), state.base - 1);
      draw();
    }
    function deeper() {
      if (state.digits.length === DEEPEST) return;
      state.digits.push(state.choice);
      draw();
    }
    function higher() {
      if (!state.digits.length) return;
      state.choice = state.digits.pop();
      draw();
    }
    function restart(base) {
      Object.assign(state, { base, digits: [], choice: base - 1 });
      draw();
    }
    const MOVES = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1,
      Home: -Infinity, End: Infinity };
    handle.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in MOVES) choose(state.choice + MOVES[event.key]);
      else if (event.key === "Enter") deeper();
      else if (event.key === "Backspace") higher();
      else return;
      event.preventDefault();
    });
    svg.addEventListener("click", (event) => {
      const x = event.clientX - svg.getBoundingClientRect().left;
      const digit = Math.floor(((x - plot.left) / (plot.right - plot.left)) * state.base);
      if (digit < 0 || digit >= state.base) return;
      if (digit === state.choice) deeper(); else choose(digit);
      handle.focus({ preventScroll: true });
    });
    magnify.addEventListener("click", deeper);
    back.addEventListener("click", higher);
    again.addEventListener("click", () => restart(6));
    baseChoice.addEventListener("change", () => restart(Number(baseChoice.value)));

    // --- Drawing ------------------------------------------------------------------------------

    function scales() {
      const width = Math.max(260, Math.round(root.clientWidth - 2));
      const left = 12, right = width - 12, top = 12, bottom = 262;
      return { width, height: bottom + 44, left, right, top, bottom,
        x: (v) => left + v * (right - left), y: (v) => bottom - v * (bottom - top) };
    }

    /** The graph over the cell, `deep` more digits drawn: points of x and y in [0, 1]. */
    function graph(base, digits, low, rise, den, deep) {
      const here = cell(base, digits);
      const scale = here.den / den; // this cell's denominator is a multiple of the first one's
      let points = here.values.map((v, i) => [i / base, share(v - low * scale, rise * scale)]);
      if (deep === 0) return points;
      points = [];
      for (let i = 0; i < base; i++) {
        graph(base, [...digits, i], low, rise, den, deep - 1)
          .forEach(([x, y]) => points.push([(i + x) / base, y]));
      }
      return points;
    }

    function draw() {
      plot = scales();
      const { base, digits, choice } = state, { values, den } = cell(base, digits);
      const low = values[0], rise = values[base] - low;
      shares = values.slice(1).map((v, i) => share(v - values[i], rise));
      baseChoice.value = base;
      back.disabled = digits.length === 0;
      magnify.disabled = digits.length === DEEPEST;
      set(svg, { width: plot.width, height: plot.height,
        viewBox: `0 0 ${plot.width} ${plot.height}` });
      frame.replaceChildren();
      const text = (x, y, string, more) =>
        make("text", { x, y, class: "playground-text", "text-anchor": "middle", ...more }, frame,
          string);
      for (let i = 0; i <= base; i++) {
        make("line", { class: "playground-grid", x1: plot.x(i / base), x2: plot.x(i / base),
          y1: plot.top, y2: plot.bottom }, frame);
        if (i < base) text(plot.x((i + 0.5) / base), plot.bottom + 17, i);
      }
      text(plot.left, plot.bottom + 38, digits.length ? `x = ${written(digits)}\u2026` : "x = 0.\u2026",
        { "text-anchor": "start" });
      text(plot.right, plot.bottom + 38, "next digit", { "text-anchor": "end" });
      const points = graph(base, digits, low, rise, den, Math.min(2, DEEPEST - digits.length))
        .map(([x, y]) => `${plot.x(x).toFixed(2)},${plot.y(y).toFixed(2)}`);
      make("polyline", { class: "playground-curve", points: points.join(" ") }, frame);

      set(mark, { x: plot.x(choice / base), y: plot.top,
        width: (plot.right - plot.left) / base, height: plot.bottom - plot.top });
      set(handle, { "aria-valuenow": choice, "aria-valuemax": base - 1,
        "aria-valuetext": `${choice}; it takes ${percent(shares[choice])} of the rise` });
      const now = report(base, digits), exponent = digits.length
        ? `; exponent of the last digit ${now.exponent.toFixed(3)}` : "";
      where.textContent = `Numbers that begin with ${digits.length ? written(digits) : "0."}: ` +
        `width ${power(now.width)}, rise ${power(now.rise)}${exponent}.`;
      chosen.textContent = `The digit ${choice} takes 1/${base} of the width and ` +
        `${percent(shares[choice])} of the rise.`;
      doubles.textContent = now.same
        ? "In double precision both ends of this cell are the same number: the digits are lost."
        : "In double precision the two ends of this cell are still different numbers.";
    }

    root.kanlite = state; // for the tests, and for the curious
    restart(6);
    if (window.ResizeObserver) new ResizeObserver(() => {
      if (Math.abs(scales().width - plot.width) > 1) draw();
    }).observe(root);
  }

  const start = () => document.querySelectorAll("[data-element=digits-playground]").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
