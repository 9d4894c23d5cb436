// The servers that the gateway starts and stops.

import { element, keyed, setAttribute, setText, show, time } from "./dom.js";

const find = (id) => document.getElementById(id);
const LEVELS = { ready: "good", starting: "busy", closing: "busy", stopping: "busy", stopped: "idle" };

/** Shows the servers; the part is hidden while there are none. */
export function servers(list) {
  show(find("servers"), list.length > 0);
  keyed(find("server-list"), list, (server) => server.name, item, update);
}

function item(server) {
  return element("li", { class: "server" },
    element("div", { class: "backend" }, element("span", { class: "dot", "aria-hidden": "true" }), element("span", { class: "name" }, server.name), element("span", { class: "faint" })),
    element("p", { class: "faint" }),
    element("p", { class: "failure", hidden: true }),
    element("details", {}, element("summary", {}, "Last lines"), element("pre", { class: "log", tabindex: "0" })));
}

function update(node, server) {
  const [head, numbers, failure, lines] = node.children;
  setAttribute(node, "data-level", server.is_failing ? "bad" : LEVELS[server.state]);
  setText(head.lastElementChild, `${server.state} for ${time(server.state_ms)}`);
  const parts = [
    server.pid === null ? null : `process ${server.pid}`,
    `${server.in_flight} in flight`,
    server.waiting_ms === null ? null : `a call waits for ${time(server.waiting_ms)}`,
    `${server.loads} ${server.loads === 1 ? "load" : "loads"}${server.load_p50_ms === null ? "" : ` of ${time(server.load_p50_ms)}`}`,
    `${server.swaps} ${server.swaps === 1 ? "swap" : "swaps"}`,
    server.failures === 0 ? null : `${server.failures} ${server.failures === 1 ? "failure" : "failures"}`,
  ];
  setText(numbers, parts.filter(Boolean).join(" · "));
  show(failure, server.is_failing);
  setText(failure, server.last_error ?? "");
  show(lines, server.lines.length > 0);
  setText(lines.lastElementChild, server.lines.join("\n"));
}
