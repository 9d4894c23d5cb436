// The cards of the backends: state, who waits and why, charts, decisions, failures, and the buttons of a simulated model.

import { Chart } from "./charts.js";
import { element, keyed, setAttribute, setText, short, show, time } from "./dom.js";
import { messageOf, request } from "./feed.js";

/** Points kept per lane: those of the gateway's history. */
const POINTS_KEPT = 600;
const ENDINGS = ["success", "error", "timeout", "shed", "cancelled", "panic", "drained", "rejected", "withdrawn"];
/** The ending of a call that another replica has taken over; it is counted there. */
const TAKEN_OVER = "withdrawn";

/** With more backends than this, their cards are folded. */
const UNFOLDED = 6;

/** The kinds of backends, for people. */
const KINDS = { openai: "OpenAI API", anthropic: "Anthropic API", huggingface: "Hugging Face", ollama: "Ollama", simulated: "simulated model" };

/** The points of one lane, as objects. */
class History {
  constructor() {
    this.points = [];
  }

  add(columns, row) {
    const point = { at: row[0] };
    columns.forEach((name, index) => (point[name] = row[index]));
    const last = this.points[this.points.length - 1];
    if (last && last.at >= point.at) return;
    this.points.push(point);
    if (this.points.length > POINTS_KEPT) this.points.shift();
  }
}

/** The section of the backends. */
export class Lanes {
  #list;
  #cards = new Map();
  #histories = new Map();
  #columns = [];
  #seconds = 60;

  constructor(list) {
    this.#list = list;
    for (const choice of document.querySelectorAll("input[name=span]")) {
      choice.addEventListener("change", () => {
        this.#seconds = Number(choice.value);
        for (const [name, card] of this.#cards) card.draw(this.#history(name).points, this.#seconds);
      });
    }
  }

  /** Takes the history of a new connection. */
  history({ columns, lanes }) {
    this.#columns = columns;
    this.#histories.clear();
    for (const { name, points } of lanes) for (const row of points) this.#history(name).add(columns, row);
  }

  /** Takes a sample; draws unless nobody sees the page. */
  sample({ lanes }) {
    for (const lane of lanes) this.#history(lane.name).add(this.#columns, lane.point);
    if (document.hidden) return;
    setAttribute(this.#list, "data-folded", lanes.length > UNFOLDED ? "" : null);
    keyed(this.#list, lanes, (lane) => lane.name, (lane) => this.#create(lane), (_, lane) => {
      const card = this.#cards.get(lane.name);
      card.update(lane);
      card.draw(this.#history(lane.name).points, this.#seconds);
    });
  }

  #create(lane) {
    const card = new Card(lane, () => card.draw(this.#history(lane.name).points, this.#seconds));
    this.#cards.set(lane.name, card);
    return card.node;
  }

  #history(name) {
    if (!this.#histories.has(name)) this.#histories.set(name, new History());
    return this.#histories.get(name);
  }
}

/** The card of one backend. */
class Card {
  /** `onopen` is called when a folded card is unfolded. */
  constructor(lane, onopen) {
    this.name = lane.name;
    this.fold = element("button", { type: "button", class: "quiet fold", "aria-expanded": "false", onclick: () => {
      const opens = !this.node.hasAttribute("data-open");
      setAttribute(this.node, "data-open", opens ? "" : null);
      setAttribute(this.fold, "aria-expanded", opens);
      setText(this.fold, opens ? "Less" : "More");
      if (opens) onopen();
    } }, "More");
    const id = `lane-${lane.name.replace(/[^\w-]/g, "_")}`;
    this.pill = element("span", { class: "pill" });
    this.kind = element("span", { class: "kind" }, KINDS[lane.kind] ?? lane.kind);
    this.sentence = element("p", { class: "sentence" });
    this.facts = element("dl", { class: "figures" });
    this.load = new Chart("Calls in flight against the limit", [
      { name: "limit", style: "limit", shape: "step", read: (point) => point.limit },
      { name: "in flight", style: "flight", shape: "area", read: (point) => point.in_flight },
    ], { least: 4 });
    this.queue = new Chart("Callers that wait", [
      { name: "waiting", style: "waiting", shape: "area", read: (point) => point.queued },
    ], { least: 4, empty: "Nobody has waited" });
    this.endings = new Chart("Calls per second by ending",
      ENDINGS.map((name) => ({ name, style: name, shape: "stack", read: (point) => point[name] })), { least: 1, empty: "No call has ended" });
    this.first = new Chart("Time to the first token, waiting included", [
      { name: "99 of 100 calls", style: "slow", shape: "line", read: (point) => point.first_token_p99_ms },
      { name: "half of them", style: "usual", shape: "line", read: (point) => point.first_token_p50_ms },
    ], { least: 400, format: time, empty: "No answer has begun" });
    this.decisions = element("ol", { class: "decisions", tabindex: "0", "aria-label": `Decisions about the limit of ${lane.name}` });
    this.undecided = element("p", { class: "faint" }, "None yet. Here is why the limit rose or fell, once it has.");
    this.failures = element("tbody");
    this.failed = element("div", { class: "failed" });
    this.states = element("p", { class: "faint" });
    this.lab = lane.kind === "simulated" ? lab(lane.name) : null;
    this.node = element("article", { class: "card panel", "aria-labelledby": id },
      element("header", {}, element("h3", { id }, lane.name), this.kind, this.pill, this.fold),
      this.sentence, this.facts,
      element("div", { class: "charts" }, this.load.node, this.queue.node, this.endings.node, this.first.node),
      element("details", { class: "more", open: true }, element("summary", {}, "Decisions about the limit"), this.decisions, this.undecided),
      element("details", { class: "more" }, element("summary", {}, "Failures and states"), this.failed,
        element("div", { class: "scroll" }, element("table", {}, element("caption", { class: "hidden" }, `Failed attempts of ${lane.name} by cause`),
          element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Class"), element("th", { scope: "col" }, "Reason"), element("th", { scope: "col", class: "number" }, "Attempts"))),
          this.failures)), this.states),
      this.lab);
  }

  draw(points, seconds) {
    // What is folded is not drawn.
    if (this.load.node.offsetParent === null) return;
    for (const chart of [this.load, this.queue, this.endings, this.first]) chart.draw(points, seconds);
  }

  update(lane) {
    setAttribute(this.node, "data-level", lane.level);
    setAttribute(this.node, "data-stale", lane.stale_ms === null ? null : "");
    setAttribute(this.pill, "data-level", lane.level);
    setText(this.pill, lane.label);
    setText(this.sentence, lane.sentence);
    const own = ENDINGS.filter((ending) => ending !== TAKEN_OVER);
    const ended = own.reduce((sum, ending) => sum + lane.endings.ended[ending], 0);
    const served = lane.endings.ended.success;
    const facts = [
      ["in flight", `${lane.in_flight} of ${lane.limit}`],
      ["waiting", short(lane.queued)],
      ["first token", lane.first_token ? time(lane.first_token.p50_ms) : "–"],
      ["rate", lane.rate === null ? "no limit" : `${short(lane.rate)} / s`],
      ["retries left", short(lane.retry_budget)],
      ["served", ended > 0 ? `${served.toLocaleString("en")} of ${ended.toLocaleString("en")}` : "–"],
      ["usual load time", time(lane.load_time_p50_ms)],
    ];
    keyed(this.facts, facts, ([name]) => name,
      ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
      (node, [, value]) => setText(node.lastElementChild, value));
    keyed(this.decisions, lane.verdicts, (verdict) => verdict.number,
      (verdict) => element("li", { title: verdict.text }, element("span", {}, verdict.sentence), element("time")),
      (node, verdict) => setText(node.lastElementChild, ago(verdict.age_ms)));
    show(this.decisions, lane.verdicts.length > 0);
    show(this.undecided, lane.verdicts.length === 0);
    this.#failures(lane);
  }

  #failures(lane) {
    const last = lane.last_failure;
    const text = last ? `Last failure, ${ago(last.age_ms)}: ${last.message}${last.status ? ` (status ${last.status})` : ""}` : "No attempt has failed.";
    setText(this.failed, text);
    keyed(this.failures, lane.failures, (failure) => `${failure.class} ${failure.reason}`,
      (failure) => element("tr", {}, element("td", {}, failure.class), element("td", {}, failure.reason || "–"), element("td", { class: "number" })),
      (node, failure) => setText(node.lastElementChild, failure.count.toLocaleString("en")));
    show(this.failures.closest(".scroll"), lane.failures.length > 0);
    const states = lane.state_changes;
    setText(this.states, states.length > 0 ? `Last states: ${[states[0].split("->")[0], ...states.map((change) => change.split("->")[1])].join(" → ")}` : "No change of state yet.");
  }
}

function ago(ms) {
  return ms < 1500 ? "now" : `${time(ms)} ago`;
}

/** The buttons that show a cold start and an overload. */
function lab(name) {
  const said = element("span", { class: "said", role: "status" });
  const button = (text, action, hint) => element("button", { type: "button", title: hint, onclick: async () => {
    setText(said, "…");
    try {
      const answer = await request(`/lab/${encodeURIComponent(name)}/${action}`, { method: "POST" });
      const result = answer.ok ? await answer.json() : null;
      setText(said, result ? `${result.calls} calls within ${result.seconds} s are on their way.` : await messageOf(answer));
    } catch {
      setText(said, "The gateway does not answer.");
    }
  } }, text);
  return element("div", { class: "lab" },
    button("Cold start", "cold-start", "Unloads the simulated model and sends it some calls"),
    button("Overload", "overload", "Sends more calls than the simulated model can serve, for 20 s"),
    said);
}
