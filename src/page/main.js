// The page: it follows the gateway's live feed and hands each sample to its parts.

import { setAttribute, setText, show } from "./dom.js";
import { Feed, key } from "./feed.js";
import { Lanes } from "./lanes.js";
import { Alerts, service } from "./service.js";
import { Try } from "./try.js";

const find = (id) => document.getElementById(id);
const THEMES = ["automatic", "dark", "light"];
/** Announcements to screen readers are at least this far apart. */
const QUIET_MS = 4_000;

const lanes = new Lanes(find("lane-list"));
const tryIt = new Try();
const alerts = new Alerts();
let connected = false;
let announced = "";
let announcedAt = 0;

theme(localStorage.getItem("kebne.theme") ?? "automatic");
find("theme").addEventListener("click", () => {
  const current = THEMES.indexOf(document.documentElement.dataset.theme);
  theme(THEMES[(current + 1) % THEMES.length]);
});

const feed = new Feed({
  history: (past) => lanes.history(past),
  sample: (sample) => {
    if (!connected) {
      connected = true;
      connection("live", "live");
      show(find("key"), false);
      show(find("content"), true);
      show(find("forget"), key.get() !== null);
      alerts.start();
    }
    overall(withAlerts(sample.overall));
    lanes.sample(sample);
    if (!document.hidden) service(sample);
    tryIt.sample(sample);
    announce(sample);
  },
  lost: (reason, wait) => {
    lose();
    connection("lost", `${reason} Trying again in ${Math.max(1, Math.round(wait / 1000))} s.`);
    overall({ level: "bad", sentence: "No connection to the gateway. What is shown is not current." });
  },
  refused: (status, message) => {
    lose();
    connection("wait", "a key is needed");
    overall({ level: "idle", sentence: "An API key is needed to see what this gateway does." });
    show(find("content"), false);
    show(find("key"), true);
    show(find("forget"), false);
    setText(find("key-error"), key.get() === null ? "" : status === 403 ? message : "This key is not known.");
    key.forget();
    find("key-input").focus();
  },
});

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(find("key-input").value.trim());
  find("key-input").value = "";
  setText(find("key-error"), "");
  feed.wake();
});
find("forget").addEventListener("click", () => {
  key.forget();
  feed.wake();
});

function lose() {
  connected = false;
  alerts.stop();
  find("content").classList.add("stale");
}

function connection(state, text) {
  setAttribute(find("connection"), "data-state", state);
  setText(find("connection"), text);
  if (state === "live") find("content").classList.remove("stale");
}

function overall({ level, sentence }) {
  setAttribute(find("overall"), "data-level", level);
  setText(find("overall-text"), sentence);
  document.title = level === "good" || level === "idle" ? "Kebne" : `(!) ${sentence} – Kebne`;
}

/** Returns the state of the service with the open alerts: what serves now may have failed many calls. */
function withAlerts({ level, sentence }) {
  const count = alerts.active.length;
  if (count === 0) return { level, sentence };
  const severe = alerts.active.some((alert) => alert.severity === "critical");
  const urgency = ["good", "idle", "busy", "warn", "bad"];
  const raised = Math.max(urgency.indexOf(level), urgency.indexOf(severe ? "bad" : "warn"));
  return { level: urgency[raised], sentence: `${sentence} ${count === 1 ? "1 alert is" : `${count} alerts are`} open.` };
}

/** Tells screen readers that a state has changed; numbers that change each second are not announced. */
function announce(sample) {
  const states = sample.lanes.map((lane) => `${lane.name}: ${lane.label}`).join(", ");
  const now = performance.now();
  if (states === announced || now - announcedAt < QUIET_MS) return;
  if (announced !== "") setText(find("announcer"), sample.overall.sentence);
  announced = states;
  announcedAt = now;
}

function theme(name) {
  const known = THEMES.includes(name) ? name : "automatic";
  document.documentElement.dataset.theme = known;
  setText(find("theme"), `Theme: ${known}`);
  localStorage.setItem("kebne.theme", known);
}
