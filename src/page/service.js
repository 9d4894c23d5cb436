// What concerns the whole service: models, model servers, keys, facts, actors and alerts.

import { brief, element, keyed, setAttribute, setProse, setText, show, span, time } from "./dom.js";
import { request } from "./feed.js";
import { servers } from "./servers.js";

const find = (id) => document.getElementById(id);
/** Time between two questions for the alerts. */
const ALERTS_EVERY_MS = 5_000;
/** Alerts that are shown without a click. */
const ALERTS_SHOWN = 3;
/** More children of one kind than this are shown as one line. */
const ALIKE = 3;

/** Shows the parts of a sample that are not lanes. */
export function service(sample) {
  models(sample);
  servers(sample.servers);
  routes(sample.routes);
  keys(sample.keys, sample.cost);
  facts(sample);
  collections(sample.collections);
  actors(sample.actors);
}

/** Shows the backends of each model side by side. */
function models({ models, lanes }) {
  const known = new Map(lanes.map((lane) => [lane.name, lane]));
  keyed(find("model-list"), models, (model) => model.name, modelTable,
    (node, model) => keyed(node.querySelector("tbody"), model.backends, (name) => name, backendRow, (row, name) => {
      const lane = known.get(name);
      setAttribute(row, "data-level", lane?.level ?? "bad");
      const [, , state] = row.firstElementChild.children;
      setText(state, lane?.label ?? "does not report");
      const numbers = lane ? [`${lane.in_flight} of ${lane.limit}`, lane.queued.toLocaleString("en"), time(lane.first_token?.p50_ms)] : ["–", "–", "–"];
      numbers.forEach((number, index) => setText(row.children[index + 1], number));
    }));
}

function modelTable(model) {
  const head = ["Backend", "In flight", "Waiting", "First token"].map((name, index) => element("th", { scope: "col", class: index > 0 ? "number" : null }, name));
  return element("li", {}, element("table", {}, element("caption", {}, model.name),
    element("thead", {}, element("tr", {}, ...head)), element("tbody")));
}

function backendRow(name) {
  const cells = [1, 2, 3].map(() => element("td", { class: "number" }));
  return element("tr", { class: "backend" },
    element("th", { scope: "row" }, element("span", { class: "dot", "aria-hidden": "true" }), element("span", { class: "name", title: name }, brief(name)), element("span", { class: "faint" })),
    ...cells);
}

/** Returns an amount with as many digits as small sums need. */
function money(units, currency) {
  return units.toLocaleString("en", { style: "currency", currency, maximumFractionDigits: units < 1 ? 6 : 2 });
}

/** Shows how often each rule of a route has led to which model. */
function routes(list) {
  show(find("routes"), list.length > 0);
  keyed(find("route-rows"), list, ({ route, rule, target }) => [route, rule, target].join("/"),
    ({ route, rule, target }) => element("tr", {}, element("th", { scope: "row" }, `${route}/${rule}`), element("td", {}, target), element("td", { class: "number" })),
    (row, { count }) => setText(row.children[2], count.toLocaleString("en")));
}

function keys(list, cost) {
  show(find("keys"), list.length > 0);
  keyed(find("key-rows"), list, (key) => key.name,
    (key) => element("tr", {}, element("th", { scope: "row" }, key.name), ...[1, 2, 3, 4, 5].map(() => element("td", { class: "number" }))),
    (row, key) => {
      setText(row.children[1], key.in_flight.toLocaleString("en"));
      setText(row.children[2], key.calls.toLocaleString("en"));
      setText(row.children[3], key.tokens.toLocaleString("en"));
      setText(row.children[4], cost ? money(key.cost, cost.currency) : "–");
      setText(row.children[5], key.budget_permille === null ? "–" : `${Math.floor(key.budget_permille / 10)} %`);
    });
}

/** Returns what kept answers have saved. */
function kept(cache, cost) {
  const saved = `${cache.saved_tokens.toLocaleString("en")} tokens${cost ? `, ${money(cache.saved_cost, cost.currency)}` : ""}`;
  const store = cache.is_store_up ? "" : "; the store does not answer";
  return [
    ["Answered without a backend", `${cache.answered.toLocaleString("en")} of ${cache.calls.toLocaleString("en")} calls`],
    ["Saved by kept answers", saved],
    ["Kept answers", `${cache.entries.toLocaleString("en")}${store}`],
  ];
}

/** Shows what collections hold, and how long the steps of the last searches took. */
function collections(sample) {
  show(find("collections"), sample !== null);
  if (sample === null) return;
  const number = (count) => count.toLocaleString("en");
  const list = [
    ["Collections", number(sample.collections)],
    ["Files", number(sample.files)],
    ["Files to read", number(sample.waiting)],
    ["Files that cannot be read", number(sample.failed)],
    ["Chunks", number(sample.chunks)],
    ["Indexes in memory", `${number(Math.round(sample.index_bytes / 1024))} KiB`],
  ];
  keyed(find("collection-facts"), list, ([name]) => name,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    (node, [, value]) => setText(node.lastElementChild, value));
  show(find("steps"), sample.steps.length > 0);
  keyed(find("step-rows"), sample.steps, ({ step }) => step,
    ({ step }) => element("tr", {}, element("th", { scope: "row" }, step), ...[1, 2].map(() => element("td", { class: "number" }))),
    (row, step) => {
      [step.p50_ms, step.p95_ms].forEach((ms, index) => setText(row.children[index + 1], ms < 10 ? `${ms.toFixed(1)} ms` : time(ms)));
    });
}

function facts({ cost, cache, sessions, memory, uptime_seconds, dead_letters, actors, version }) {
  const restarts = actors.reduce((sum, actor) => sum + actor.restarts, 0);
  const store = sessions.store === "available" ? "available" : `unavailable for ${time(sessions.for_seconds * 1000)}: ${sessions.reason}`;
  const list = [
    ["Running for", span(uptime_seconds)],
    ["Session store", store],
    ["Sessions", sessions.count?.toLocaleString("en") ?? "not known"],
    ["Unanswered by the store", sessions.failures.toLocaleString("en")],
    ...(memory ? [["Summaries", `${memory.summaries}, ${memory.waiting} waiting, ${memory.failures} failed`], ["Facts", memory.facts.toLocaleString("en")]] : []),
    ["Actors", `${actors.length}, ${restarts} ${restarts === 1 ? "restart" : "restarts"}`],
    ...(cost ? [["Cost of calls", money(cost.total, cost.currency)]] : []),
    ...(cache ? kept(cache, cost) : []),
    ["Undelivered messages", dead_letters.toLocaleString("en")],
  ];
  keyed(find("service-facts"), list, ([name]) => name,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    (node, [, value]) => setText(node.lastElementChild, value));
  setText(find("version"), `Kebne ${version}`);
}

/** Makes a tree of paths, and one line of many children that are alike (workers). */
function tree(actors) {
  const root = { name: "", children: new Map(), actor: null, count: 1 };
  for (const actor of actors) {
    let node = root;
    for (const name of actor.path.split("/").filter((part) => part && part !== "user")) {
      if (!node.children.has(name)) node.children.set(name, { name, children: new Map(), actor: null, count: 1 });
      node = node.children.get(name);
    }
    node.actor = actor;
  }
  join(root);
  return root;
}

function join(node) {
  const kinds = new Map();
  for (const child of node.children.values()) {
    join(child);
    const kind = child.name.replace(/[-$]?\d+$/, "");
    if (child.children.size === 0 && kind !== child.name) kinds.set(kind, [...(kinds.get(kind) ?? []), child]);
  }
  for (const [kind, alike] of kinds) {
    if (alike.length <= ALIKE) continue;
    const actors = alike.map((child) => child.actor).filter(Boolean);
    const sum = (read) => actors.reduce((total, actor) => total + read(actor), 0);
    const odd = actors.find((actor) => actor.state !== "running");
    const failed = actors.find((actor) => actor.last_failure);
    for (const child of alike) node.children.delete(child.name);
    node.children.set(kind, { name: kind, count: alike.length, children: new Map(), actor: {
      state: odd?.state ?? "running", restarts: sum((actor) => actor.restarts), mailbox: sum((actor) => actor.mailbox), last_failure: failed?.last_failure ?? null,
    } });
  }
}

function actors(list) {
  branch(find("actor-tree"), [...tree(list).children.values()]);
}

function branch(parent, nodes) {
  if (nodes.length === 0) {
    parent.querySelector(":scope > ul")?.remove();
    return;
  }
  let list = parent.querySelector(":scope > ul");
  if (!list) parent.append((list = element("ul")));
  keyed(list, nodes, (node) => node.name,
    () => element("li", {}, element("div", { class: "actor" }, element("span", { class: "name" }), element("span", { class: "notes" })), element("p", { class: "failure", hidden: true })),
    (item, node) => {
      const [line, failure] = item.children;
      const actor = node.actor;
      setText(line.firstElementChild, node.count > 1 ? `${node.name} × ${node.count}` : node.name);
      const notes = [];
      if (actor && actor.state !== "running") notes.push(actor.state);
      if (actor?.restarts > 0) notes.push(`${actor.restarts} ${actor.restarts === 1 ? "restart" : "restarts"}`);
      if (actor?.mailbox > 0) notes.push(`${actor.mailbox} in the mailbox`);
      setText(line.lastElementChild, notes.join(" · "));
      setAttribute(item, "data-restarts", actor?.restarts > 0 ? actor.restarts : null);
      show(failure, Boolean(actor?.last_failure));
      setText(failure, actor?.last_failure ? `last failure: ${actor.last_failure}` : "");
      branch(item, [...node.children.values()]);
    });
}

/** What the gateway may do by itself, as words before the reason. */
const DONE = { take_out: "The gateway took this backend out", lower_share: "The gateway halved the weight of this key", prewarm: "The gateway woke this backend" };
const SUGGESTED = { take_out: "Take this backend out?", lower_share: "Halve the weight of this key?", prewarm: "Wake this backend?" };
/** Time for which a suggestion is shown, in seconds. */
const SUGGESTION_AGE_MAX = 3600;

/** Returns an action that is in force, or a suggestion that is not old, as an entry among the alerts. */
function asAlert({ id, kind, state, subject, reason, command, since }) {
  const words = state === "active" ? DONE[kind] : state === "suggested" && Date.now() / 1000 - since < SUGGESTION_AGE_MAX ? SUGGESTED[kind] : null;
  if (!words) return [];
  const verb = state === "active" ? "To undo it" : "To do it";
  return [{ id: `action ${id}`, severity: state === "active" ? "action" : "suggested", sentence: `${words}: \`${subject}\`. ${reason}`, action: command ? `${verb}: \`${command}\`.` : "" }];
}

/** Asks for the alerts now and then, if this gateway has them. */
export class Alerts {
  #timer = null;
  #shows_all = false;
  /** The open alerts of the last answer. */
  active = [];

  constructor() {
    find("alerts-more").addEventListener("click", () => {
      this.#shows_all = !this.#shows_all;
      this.#fold();
    });
  }

  start() {
    this.stop();
    this.#ask();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #ask() {
    let again = true;
    try {
      const answer = await request("/v1/alerts");
      if (answer.ok) this.#show(await answer.json());
      else {
        again = answer.status >= 500;
        this.active = [];
        show(find("alerts"), false);
      }
    } catch {
      // The feed reports a gateway that does not answer.
    }
    if (again) this.#timer = setTimeout(() => this.#ask(), ALERTS_EVERY_MS);
  }

  #show(body) {
    const active = body.active ?? body.alerts ?? [];
    this.active = active;
    const shown = [...active, ...(body.actions ?? []).flatMap(asAlert)];
    show(find("alerts"), shown.length > 0);
    setAttribute(find("alerts"), "data-severity", active.some((alert) => alert.severity === "critical") ? "critical" : "warning");
    keyed(find("alert-list"), shown, (alert) => alert.id ?? `${alert.rule} ${alert.subject}`,
      (alert) => element("li", { "data-severity": alert.severity ?? "warning" }, element("p", { class: "severity" }, alert.severity ?? "warning"), element("strong"), element("p", { class: "action" })),
      (node, alert) => {
        setProse(node.children[1], alert.sentence ?? "");
        setProse(node.lastElementChild, alert.action ?? "");
      });
    this.#fold();
  }

  /** Hides the alerts beyond the first ones, which are the most severe, until the button is pressed. */
  #fold() {
    const all = [...find("alert-list").children];
    const more = find("alerts-more");
    all.forEach((node, index) => show(node, this.#shows_all || index < ALERTS_SHOWN));
    show(more, all.length > ALERTS_SHOWN);
    setAttribute(more, "aria-expanded", this.#shows_all);
    setText(more, this.#shows_all ? "Show fewer" : `Show ${all.length - ALERTS_SHOWN} more`);
  }
}
