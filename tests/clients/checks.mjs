// Checks the official OpenAI library for Node against the gateway.

import assert from 'node:assert/strict';
import { KEY, URL, answers, check, main, raises as raisesClass } from './harness.mjs';

const openai = await import(process.env.OPENAI_MODULE);
const OpenAI = openai.default;
const HELLO = [{ role: 'user', content: 'hello' }];
const PIXEL = 'data:image/png;base64,iVBORw0KGgo=';
const PLACE = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const TOOLS = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }];

// The fetch of Node 18 can lose a caller's abort (the controller between both signals may be collected):
// this one rejects in any case, as the standard says.
const abortable = (url, { signal, ...init }) => Promise.race([fetch(url, { signal, ...init }), aborted(signal)]);
const aborted = (signal) => new Promise((_, reject) =>
  signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))));

const client = (options = {}) => new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0, ...options });
const chat = (model, { using = client(), headers, ...more } = {}) =>
  using.chat.completions.create({ model, messages: HELLO, ...more }, { headers });

async function raises(kind, promise, status, code) {
  const error = await raisesClass(kind, promise);
  if (status) assert.equal(error.status, status);
  if (status) assert.match(error.requestID, /^req_/);
  if (code) assert.equal(error.code, code);
  return error;
}

check('a chat is answered with text, usage and a request id', async () => {
  const answer = await chat('good');
  assert.match(answer.choices[0].message.content, /hello/);
  assert.ok(answer.usage.total_tokens > 0);
  assert.match(answer._request_id, /^req_/);
});

check('a stream is the same text in pieces and ends', async () => {
  let text = '';
  let last;
  for await (const chunk of await chat('good', { stream: true })) {
    text += chunk.choices[0].delta.content ?? '';
    last = chunk.choices[0].finish_reason;
  }
  assert.match(text, /hello/);
  assert.equal(last, 'stop');
});

check('a stream tells its usage when it is asked to', async () => {
  let last;
  for await (const chunk of await chat('good', { stream: true, stream_options: { include_usage: true } })) last = chunk;
  assert.ok(last.usage.completion_tokens > 0);
});

check('tools and unknown fields pass through, both ways', async () => {
  const answer = await chat('tools', { tools: TOOLS, nobody_knows: { this: [1, 2.5] } });
  assert.equal(answer.choices[0].message.tool_calls[0].function.arguments, '{"city": "Kiruna"}');
  assert.deepEqual(answer.asked.tools, TOOLS);
  assert.deepEqual(answer.asked.nobody_knows, { this: [1, 2.5] });
});

check('a call of a tool is streamed in pieces', async () => {
  let text = '';
  for await (const chunk of await chat('tools', { stream: true, tools: TOOLS })) {
    for (const call of chunk.choices[0].delta.tool_calls ?? []) text += call.function.arguments;
  }
  assert.equal(text, '{"city": "Kiruna"}');
});

check('an image reaches the backend as it is', async () => {
  const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: PIXEL, detail: 'low' } }] }];
  const answer = await client().chat.completions.create({ model: 'tools', messages });
  assert.deepEqual(answer.asked.messages, messages);
});

check('structured output is asked for and read, whole and streamed', async () => {
  const form = { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: PLACE } };
  const own = { model: 'clever', messages: HELLO, response_format: form };
  const answer = await client().chat.completions.create(own);
  assert.deepEqual(answer.asked.response_format, form);
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: 'Kiruna' });
  const final = await client().chat.completions.stream(own).finalChatCompletion();
  assert.deepEqual(JSON.parse(final.choices[0].message.content), { city: 'Kiruna' });
});

check('a tool is run by the library, and its result is answered', async () => {
  const tool = { type: 'function', function: { name: 'weather', parameters: PLACE, parse: JSON.parse, function: ({ city }) => `cold in ${city}` } };
  const runner = client().chat.completions.runTools({ model: 'clever', messages: HELLO, tools: [tool], stream: true });
  assert.equal(await runner.finalContent(), 'Hello, good day');
  assert.equal(runner.messages.find((message) => message.role === 'tool').content, 'cold in Kiruna');
});

check('completions and embeddings are answered', async () => {
  const completion = await client().completions.create({ model: 'good', prompt: 'hello' });
  assert.match(completion.choices[0].text, /hello/);
  const embedding = await client().embeddings.create({ model: 'good', input: ['a', 'b'], encoding_format: 'float' });
  assert.equal(embedding.data.length, 2);
});

check('models are listed and found', async () => {
  const names = [];
  for await (const model of client().models.list()) names.push(model.id);
  assert.equal(names[0], 'good');
  assert.equal((await client().models.retrieve('good')).id, 'good');
});

check('a session remembers what was said', async () => {
  const session = await client().post('/sessions', { body: {} });
  const headers = { 'x-kebne-session': session.id };
  await chat('good', { headers });
  for await (const _chunk of await chat('good', { headers, stream: true }));
  const turns = await client().get(`/sessions/${session.id}/turns`);
  assert.deepEqual(turns.data.map((turn) => turn.messages[0].content), ['hello', 'hello']);
});

check('a wrong key is an AuthenticationError', () =>
  raises(openai.AuthenticationError, chat('good', { using: client({ apiKey: 'wrong' }) }), 401, 'invalid_api_key'));

check('a key that may not call is a PermissionDeniedError', () =>
  raises(openai.PermissionDeniedError, chat('good', { using: client({ apiKey: process.env.KEBNE_READER }) }), 403));

check('a body that is too large is status 413, also while it is still being sent', () =>
  raises(openai.APIError, chat('good', { padding: 'x'.repeat(17 << 20) }), 413));

check('an unknown model is a NotFoundError', () =>
  raises(openai.NotFoundError, chat('nope'), 404, 'model_not_found'));

check('a wrong field is a BadRequestError that names it', async () => {
  const error = await raises(openai.BadRequestError, chat('good', { stream: 'yes' }), 400);
  assert.equal(error.param, 'stream');
});

check('a full queue is a RateLimitError, tried again after the hint and then given up', async () => {
  const leave = new AbortController();
  const busy = client().chat.completions
    .create({ model: 'full', messages: HELLO }, { headers: { 'x-kebne-deadline-ms': '60000' }, signal: leave.signal })
    .catch((error) => error);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const before = await answers('full', 429);
  const since = performance.now();
  await raises(openai.RateLimitError, chat('full', { using: client({ maxRetries: 2 }) }), 429, 'queue_full');
  assert.equal((await answers('full', 429)) - before, 3);
  assert.ok(performance.now() - since >= 190, 'two hints of at least 100 ms');
  leave.abort();
  assert.equal((await busy).constructor, openai.APIUserAbortError);
});

check('a used-up quota is a RateLimitError that is not tried again', async () => {
  await raises(openai.RateLimitError, chat('quota', { using: client({ maxRetries: 3 }) }), 429, 'insufficient_quota');
  assert.equal(await answers('quota', 429), 1);
});

check('what the backend refuses with 409 or 422 has the class of the library', async () => {
  for (const [status, kind] of [[409, openai.ConflictError], [422, openai.UnprocessableEntityError]]) {
    await raises(kind, chat('refusing', { messages: [{ role: 'user', content: `${status}` }] }), status);
  }
});

check('a loading model is an InternalServerError with status 503', () =>
  raises(openai.InternalServerError, chat('loading', { headers: { 'x-kebne-deadline-ms': '300' } }), 503, 'model_loading'));

check('a client that follows the hints finds a cold model ready', async () => {
  const headers = { 'x-kebne-deadline-ms': '300' };
  const answer = await chat('cold', { using: client({ maxRetries: 4 }), headers });
  assert.ok(answer.choices[0].message.content);
  assert.ok((await answers('cold', 503)) >= 1);
});

check('a client that can wait is held while the model loads', async () => {
  assert.ok((await chat('cold-too')).choices[0].message.content);
  assert.equal(await answers('cold-too', 503), 0);
});

check('a backend that is too slow is status 504 and not tried again', async () => {
  await raises(openai.InternalServerError, chat('slow', { using: client({ maxRetries: 3 }) }), 504, 'upstream_timeout');
  assert.equal(await answers('slow', 504), 1);
});

check('a backend that fails is status 502 and not tried again', async () => {
  await raises(openai.InternalServerError, chat('broken', { using: client({ maxRetries: 3 }) }), 502, 'upstream_error');
  assert.equal(await answers('broken', 502), 1);
});

check("a client's own timeout is an APIConnectionTimeoutError", () =>
  raises(openai.APIConnectionTimeoutError,
    chat('silent', { using: client({ timeout: 500, fetch: abortable }), headers: { 'x-kebne-deadline-ms': '60000' } })));

check('a gateway that is not there is an APIConnectionError', () =>
  raises(openai.APIConnectionError, chat('good', { using: client({ baseURL: 'http://127.0.0.1:9/v1' }) })));

check('a stream that is lost in its middle is an APIError, never a clean end', async () => {
  const read = async () => {
    for await (const _chunk of await chat('cut', { stream: true }));
  };
  await raises(openai.APIError, read());
});

await main('openai (Node)');
