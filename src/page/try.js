// The try-it box: streams one chat completion and shows its course: waiting, first token, end.

import { element, keyed, setText, show, time } from "./dom.js";
import { events, messageOf, request } from "./feed.js";

const find = (id) => document.getElementById(id);
/** Time between two looks at a call that waits. */
const TICK_MS = 200;

export class Try {
  #abort = null;
  #sample = null;

  constructor() {
    find("try-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#abort) this.#call();
    });
    find("try-stop").addEventListener("click", () => this.#abort?.abort());
    find("try-prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("try-form").requestSubmit();
    });
  }

  /** Takes a sample: the models to choose from, and why a call waits. */
  sample(sample) {
    this.#sample = sample;
    keyed(find("try-model"), sample.models, (model) => model.name, (model) => element("option", { value: model.name }, model.name), () => {});
  }

  #reason(model) {
    const backend = this.#sample?.models.find((one) => one.name === model)?.backends[0];
    return this.#sample?.lanes.find((lane) => lane.name === backend)?.sentence ?? "";
  }

  async #call() {
    this.#abort = new AbortController();
    const model = find("try-model").value;
    const course = new Course(() => this.#reason(model));
    show(find("try-stop"), true);
    find("try-send").disabled = true;
    try {
      await this.#stream(model, course, this.#abort.signal);
    } catch (error) {
      course.end(error.name === "AbortError" ? "Stopped." : "The connection was lost.", error.name !== "AbortError");
    } finally {
      this.#abort = null;
      show(find("try-stop"), false);
      find("try-send").disabled = false;
    }
  }

  async #stream(model, course, signal) {
    const body = JSON.stringify({ model, stream: true, messages: [{ role: "user", content: find("try-prompt").value }] });
    const answer = await request("/v1/chat/completions", { method: "POST", body, signal });
    if (!answer.ok) {
      const after = answer.headers.get("retry-after");
      course.end(`${await messageOf(answer)}${after ? ` Try again in ${after} s.` : ""}`, true);
      return;
    }
    const header = (name) => answer.headers.get(`x-kebne-${name}`);
    for await (const { event, data } of events(answer.body)) {
      if (event === "comment" || data === "[DONE]") continue;
      const part = JSON.parse(data);
      if (part.error) return course.end(part.error.message, true);
      const text = part.choices?.[0]?.delta?.content;
      if (text) course.token(text, { lane: header("lane"), attempts: Number(header("attempts") ?? 0), waited: header("waited-ms") });
    }
    course.end(null, false);
  }
}

/** The course of one call on the page. */
class Course {
  #began = performance.now();
  #first = null;
  #tokens = 0;
  #steps = find("try-steps");
  #answer = find("try-answer");
  #lines = new Map();

  constructor(reason) {
    this.#steps.replaceChildren();
    setText(this.#answer, "");
    show(this.#steps, true);
    show(this.#answer, true);
    this.#line("sent", "Sent.");
    this.timer = setInterval(() => this.#line("wait", `Waiting for ${time(this.#passed())}. ${reason()}`, "busy"), TICK_MS);
  }

  #passed() {
    return performance.now() - this.#began;
  }

  token(text, { lane, attempts, waited }) {
    if (this.#first === null) {
      clearInterval(this.timer);
      this.#first = this.#passed();
      const notes = [];
      if (lane) notes.push(`from ${lane}`);
      if (attempts > 1) notes.push(`after ${attempts} attempts`);
      if (waited !== null) notes.push(`${time(Number(waited))} of it waiting`);
      this.#line("wait", `First token after ${time(this.#first)}${notes.length > 0 ? `: ${notes.join(", ")}` : ""}.`, "good");
    }
    this.#tokens += 1;
    this.#answer.append(text);
  }

  end(message, failed) {
    clearInterval(this.timer);
    const total = this.#passed();
    if (message !== null) return this.#line("end", message, failed ? "bad" : "idle");
    const rate = this.#tokens > 1 ? (1000 * (this.#tokens - 1)) / Math.max(total - this.#first, 1) : 0;
    this.#line("end", `Complete after ${time(total)}: ${this.#tokens} parts${rate > 0 ? `, ${rate.toFixed(0)} per second` : ""}.`, "good");
  }

  #line(name, text, level = "good") {
    let line = this.#lines.get(name);
    if (!line) {
      line = element("li", {});
      this.#lines.set(name, line);
      this.#steps.append(line);
    }
    line.dataset.level = level;
    setText(line, text);
  }
}
