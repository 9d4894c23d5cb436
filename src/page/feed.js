// The connection to the gateway: requests with the page's key, and the live feed, which comes back after a loss.

const KEY = "kebne.key";
/** A feed that sends nothing for this long is lost: a sample comes each second. */
const SILENCE_MS = 6_000;
/** The waits before the first and the later attempts to connect again. */
const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000];

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Sends a request to this gateway with the page's key. */
export function request(path, options = {}) {
  const headers = new Headers(options.headers);
  const own = key.get();
  if (own) headers.set("authorization", `Bearer ${own}`);
  if (options.method === "POST" && !headers.has("content-type")) headers.set("content-type", "application/json");
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
}

/** Returns the message of an answer that is an error. */
export async function messageOf(answer) {
  try {
    const { error } = await answer.json();
    return error.code ? `${error.message} (${error.code})` : error.message;
  } catch {
    return `The gateway answered ${answer.status}.`;
  }
}

/** Reads server-sent events: yields `{ event, data }`, and `{ event: "comment" }` for what keeps a stream alive. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split(/\r?\n\r?\n/);
      rest = parts.pop();
      for (const part of parts) yield parse(part);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function parse(part) {
  const found = { event: "comment", data: "" };
  const lines = [];
  for (const line of part.split(/\r?\n/)) {
    const field = line.slice(0, line.indexOf(":"));
    const value = line.slice(field.length + 1).replace(/^ /, "");
    if (field === "event") found.event = value;
    if (field === "data") lines.push(value);
  }
  if (lines.length > 0 && found.event === "comment") found.event = "message";
  found.data = lines.join("\n");
  return found;
}

/**
 * Follows `/live` for as long as the page is open. `on.history`, `on.sample`, `on.lost(reason, waitMs)` and
 * `on.refused(status, message)` are called; after a refusal the feed waits for `wake()`.
 */
export class Feed {
  #on;
  #failures = 0;
  #abort = null;
  #wake = null;

  constructor(on) {
    this.#on = on;
    this.#run();
  }

  /** Connects at once, for instance with another key. */
  wake() {
    this.#failures = 0;
    this.#abort?.abort();
    this.#wake?.();
  }

  async #run() {
    for (;;) {
      const reason = await this.#follow();
      if (reason === null) {
        await this.#sleep(null);
        continue;
      }
      const base = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)];
      const wait = base * (0.75 + Math.random() / 2);
      this.#failures += 1;
      this.#on.lost(reason, wait);
      await this.#sleep(wait);
    }
  }

  /** Follows one connection; returns why it ended, or `null` if the gateway refused it. */
  async #follow() {
    this.#abort = new AbortController();
    let timer = null;
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#abort.abort(), SILENCE_MS);
    };
    try {
      watch();
      const answer = await request("/live", { signal: this.#abort.signal });
      if (answer.status === 401 || answer.status === 403) {
        this.#on.refused(answer.status, await messageOf(answer));
        return null;
      }
      if (!answer.ok) return await messageOf(answer);
      for await (const { event, data } of events(answer.body)) {
        watch();
        if (event === "history") this.#on.history(JSON.parse(data));
        if (event === "sample") {
          this.#failures = 0;
          this.#on.sample(JSON.parse(data));
        }
      }
      return "The gateway ended the connection.";
    } catch (error) {
      if (!(error instanceof TypeError) && error.name !== "AbortError") console.error(error);
      return "The gateway does not answer.";
    } finally {
      clearTimeout(timer);
    }
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = ms === null ? null : setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
