// Small charts over time: lines, areas and stacks in SVG, with a legend that shows the values under the pointer, and a table of
// the same numbers behind each chart.

import { drawing, element, setAttribute, setText, short, show } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 150;
/** Rows of the table behind a chart. */
const ROWS = 10;

/** Returns the least number that is not below `value` and has a round half: 1, 2, 4, 6 or 8 times a power of ten. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 6, 8, 10].find((factor) => factor * power >= value * 0.999);
  return step * power;
}

/**
 * A chart of several series over the same times. A series has `name`, `style` (the class of its colour), `read(point)`, and
 * `shape`: `line`, `step`, `area` or `stack`.
 */
export class Chart {
  /** `format` writes a value; `least` is the least upper end of the scale; `empty` is shown while there is nothing to draw. */
  constructor(title, series, { format = short, least = 1, empty = null } = {}) {
    this.series = series;
    this.format = format;
    this.least = least;
    this.points = [];
    this.pointer = null;
    this.shapes = series.map((one) => ({
      fill: one.shape === "area" || one.shape === "stack" ? drawing("path", { class: `fill ${one.style}` }) : null,
      line: one.shape === "stack" ? null : drawing("path", { class: `line ${one.style} ${one.shape}` }),
    }));
    const rules = [0, 0.5, 1].map((share) => drawing("line", { class: "rule", x1: 0, x2: WIDTH, y1: HEIGHT * share, y2: HEIGHT * share }));
    this.cursor = drawing("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
    const layers = this.shapes.map((shape) => shape.fill).filter(Boolean);
    const lines = this.shapes.map((shape) => shape.line).filter(Boolean);
    const picture = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...rules, ...layers, ...lines, this.cursor);
    picture.addEventListener("pointermove", (event) => this.#point(event.offsetX / picture.clientWidth));
    picture.addEventListener("pointerleave", () => this.#point(null));
    this.top = element("span", { class: "scale upper" });
    this.middle = element("span", { class: "scale middle" });
    this.empty = empty === null ? null : element("span", { class: "empty", "aria-hidden": "true" }, empty);
    this.from = element("span", { class: "moment" });
    this.values = series.map(() => element("b"));
    const legend = element("ul", { class: "legend", "aria-hidden": "true" },
      ...series.map((one, index) => element("li", {}, element("i", { class: `swatch ${one.style} ${one.shape}` }), `${one.name} `, this.values[index])));
    this.rows = element("tbody");
    this.table = element("details", { class: "table", ontoggle: () => this.#tabulate() },
      element("summary", {}, `Table: ${title}`),
      element("table", {},
        element("caption", { class: "hidden" }, title),
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Ago"),
          ...series.map((one) => element("th", { scope: "col", class: "number" }, one.name)))),
        this.rows));
    this.node = element("figure", { class: "chart" },
      element("figcaption", {}, title),
      element("div", { class: "plot" }, ...[picture, this.top, this.middle, this.empty].filter(Boolean)),
      element("div", { class: "moments", "aria-hidden": "true" }, this.from, element("span", { class: "moment" }, "now")),
      legend, this.table);
  }

  /** Draws the points of the last `seconds`. */
  draw(points, seconds) {
    const end = points.length > 0 ? points[points.length - 1].at : 0;
    const start = end - seconds * 1000;
    this.points = points.filter((point) => point.at >= start - 1500);
    this.start = start;
    this.end = end;
    setText(this.from, seconds < 120 ? `${seconds} s ago` : `${seconds / 60} min ago`);
    const stacked = this.series.filter((one) => one.shape === "stack");
    let most = this.least;
    for (const point of this.points) {
      let sum = 0;
      for (const one of stacked) sum += one.read(point) ?? 0;
      most = Math.max(most, sum);
      for (const one of this.series) if (one.shape !== "stack") most = Math.max(most, one.read(point) ?? 0);
    }
    if (this.empty) show(this.empty, !this.points.some((point) => this.series.some((one) => one.read(point) > 0)));
    const scale = ceiling(most);
    setText(this.top, this.format(scale));
    setText(this.middle, this.format(scale / 2));
    const x = (at) => Math.round(((at - start) / (end - start)) * WIDTH * 10) / 10;
    const y = (value) => Math.round((HEIGHT - (Math.min(value, scale) / scale) * HEIGHT) * 10) / 10;
    const floor = new Map();
    this.series.forEach((one, index) => {
      const { fill, line } = this.shapes[index];
      if (one.shape === "stack") {
        setAttribute(fill, "d", this.#stack(one, floor, x, y));
        return;
      }
      const runs = this.#runs(one, x, y);
      setAttribute(line, "d", runs.map((run) => path(run, one.shape === "step")).join(""));
      if (fill) setAttribute(fill, "d", runs.map((run) => `${path(run, false)}V${HEIGHT}H${run[0][0]}Z`).join(""));
    });
    this.#legend();
    if (this.table.open) this.#tabulate();
  }

  /** Returns the runs of points that have a value. */
  #runs(one, x, y) {
    const runs = [];
    let run = null;
    let before = -Infinity;
    for (const point of this.points) {
      const value = one.read(point);
      if (value === null || value === undefined) run = null;
      else {
        // A gap in the samples is a gap in the line.
        if (run === null || point.at - before > 4000) runs.push((run = []));
        run.push([x(point.at), y(value)]);
      }
      before = point.at;
    }
    return runs;
  }

  /** Returns the outline of one layer of a stack, and raises the floor of the next one. */
  #stack(one, floor, x, y) {
    if (this.points.length < 2) return "";
    const upper = [];
    const lower = [];
    let empty = true;
    for (const point of this.points) {
      const base = floor.get(point.at) ?? 0;
      const value = one.read(point) ?? 0;
      if (value > 0) empty = false;
      floor.set(point.at, base + value);
      upper.push([x(point.at), y(base + value)]);
      lower.push([x(point.at), y(base)]);
    }
    return empty ? "" : `${path(upper, false)}L${path(lower.reverse(), false).slice(1)}Z`;
  }

  #point(share) {
    this.pointer = share === null ? null : Math.min(Math.max(share, 0), 1);
    setAttribute(this.cursor, "visibility", share === null ? "hidden" : "visible");
    if (share !== null) for (const name of ["x1", "x2"]) setAttribute(this.cursor, name, this.pointer * WIDTH);
    this.#legend();
  }

  /** Writes the values under the pointer, or the newest ones. */
  #legend() {
    let chosen = this.points[this.points.length - 1];
    if (this.pointer !== null) {
      const at = this.start + this.pointer * (this.end - this.start);
      for (const point of this.points) if (Math.abs(point.at - at) < Math.abs(chosen.at - at)) chosen = point;
    }
    this.series.forEach((one, index) => {
      setText(this.values[index], chosen ? this.format(one.read(chosen)) : "–");
      // An ending that did not occur needs no place in the legend.
      const occurs = index === 0 || one.shape !== "stack" || this.points.some((point) => one.read(point) > 0);
      show(this.values[index].parentElement, occurs);
    });
  }

  /** Writes the table: one row per tenth of the time that is shown. */
  #tabulate() {
    if (!this.table.open) return;
    const every = Math.max(1, Math.floor(this.points.length / ROWS));
    const chosen = this.points.filter((_, index) => (this.points.length - 1 - index) % every === 0).reverse().slice(0, ROWS);
    this.rows.replaceChildren(...chosen.map((point) => element("tr", {},
      element("th", { scope: "row" }, `${Math.round((this.end - point.at) / 1000)} s`),
      ...this.series.map((one) => element("td", { class: "number" }, this.format(one.read(point)))))));
  }
}

function path(points, stepped) {
  let text = "";
  points.forEach(([x, y], index) => {
    if (index === 0) text += `M${x} ${y}`;
    else text += stepped ? `H${x}V${y}` : `L${x} ${y}`;
  });
  return text;
}
