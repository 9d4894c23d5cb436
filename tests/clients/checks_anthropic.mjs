// Checks the official Anthropic library for Node against the gateway.

import assert from 'node:assert/strict';
import { KEY, ROOT, answers, check, main, raises as raisesClass } from './harness.mjs';

const anthropic = await import(process.env.ANTHROPIC_MODULE);
const Anthropic = anthropic.default;
const HELLO = [{ role: 'user', content: 'hello' }];
const WEATHER = { name: 'weather', input_schema: { type: 'object' } };

const client = (options = {}) => new Anthropic({ baseURL: ROOT, apiKey: KEY, maxRetries: 0, ...options });
const message = (model, { using = client(), headers, ...more } = {}) =>
  using.messages.create({ model, max_tokens: 200, messages: HELLO, ...more }, { headers });

async function raises(kind, promise, status, type) {
  const error = await raisesClass(kind, promise);
  assert.equal(error.status, status);
  assert.equal(error.error.error.type, type);
  assert.match(error.requestID, /^req_/);
  return error;
}

check('a message is answered with text, usage and a request id', async () => {
  const answer = await message('good');
  assert.match(answer.content[0].text, /hello/);
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
  assert.match(answer._request_id, /^req_/);
});

check('a stream is the whole message in pieces', async () => {
  const stream = client().messages.stream({ model: 'good', max_tokens: 200, messages: HELLO });
  let text = '';
  stream.on('text', (part) => { text += part; });
  const final = await stream.finalMessage();
  assert.equal(final.content[0].text, text);
  assert.match(text, /hello/);
  assert.ok(final.usage.output_tokens > 0);
  assert.equal(final.stop_reason, 'end_turn');
});

check('a call of a tool is streamed in pieces', async () => {
  const stream = client().messages.stream({ model: 'tools', max_tokens: 9, messages: HELLO, tools: [WEATHER] });
  let json = '';
  stream.on('inputJson', (part) => { json += part; });
  const final = await stream.finalMessage();
  assert.equal(json, '{"city": "Kiruna"}');
  assert.deepEqual(final.content[0].input, { city: 'Kiruna' });
  assert.equal(final.stop_reason, 'tool_use');
});

check('the events of a stream come in their order, event by event', async () => {
  const kinds = [];
  for await (const event of await message('clever', { stream: true, tools: [WEATHER] })) kinds.push(event.type);
  assert.deepEqual(kinds.filter((kind, index) => kind !== kinds[index - 1] && kind !== 'ping'), ['message_start',
    'content_block_start', 'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop']);
});

check('a tool is called, and its result is answered', async () => {
  const first = await message('clever', { tools: [WEATHER] });
  const call = first.content[0];
  assert.deepEqual(call.input, { city: 'Kiruna' });
  const result = { type: 'tool_result', tool_use_id: call.id, content: 'cold' };
  const messages = [...HELLO, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
  assert.equal((await message('clever', { tools: [WEATHER], messages })).content[0].text, 'Hello, good day');
});

check('an image and structured output reach a chat backend', async () => {
  const source = { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' };
  const schema = { type: 'object', properties: { city: { type: 'string' } } };
  const messages = [{ role: 'user', content: [{ type: 'image', source }] }];
  const answer = await message('clever', { messages, output_config: { format: { type: 'json_schema', schema } } });
  assert.equal(answer.asked.messages[0].content[0].image_url.url, 'data:image/png;base64,iVBORw0KGgo=');
  assert.deepEqual(answer.asked.response_format.json_schema.schema, schema);
  assert.deepEqual(JSON.parse(answer.content[0].text), { city: 'Kiruna' });
});

check('a full queue is tried again after the hint and then given up', async () => {
  const leave = new AbortController();
  const busy = client().messages.create({ model: 'full', max_tokens: 9, messages: HELLO },
    { headers: { 'x-kebne-deadline-ms': '60000' }, signal: leave.signal }).catch((error) => error);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const since = performance.now();
  await raises(anthropic.RateLimitError, message('full', { using: client({ maxRetries: 2 }) }), 429, 'rate_limit_error');
  assert.equal(await answers('full', 429), 3);
  assert.ok(performance.now() - since >= 190, 'two hints of at least 100 ms');
  leave.abort();
  await busy;
});

check('a client that follows the hints finds a cold model ready', async () => {
  const headers = { 'x-kebne-deadline-ms': '300' };
  const answer = await message('cold', { using: client({ maxRetries: 4 }), headers });
  assert.ok(answer.content[0].text);
  assert.ok((await answers('cold', 529)) >= 1);
});

check("a backend of Anthropic's is passed through", async () => {
  const stream = client().messages.stream({ model: 'claude', max_tokens: 9, messages: HELLO });
  const final = await stream.finalMessage();
  assert.equal(final.content[0].signature, 'signed');
  assert.deepEqual(final.content[1].input, { city: 'Kiruna' });
});

check('tokens are counted without a call', async () => {
  const count = await client().messages.countTokens({ model: 'good', messages: HELLO });
  assert.ok(count.input_tokens > 0);
});

check('errors have their classes', async () => {
  const short = { headers: { 'x-kebne-deadline-ms': '300' } };
  await raises(anthropic.AuthenticationError, message('good', { using: client({ apiKey: 'wrong' }) }), 401, 'authentication_error');
  const reader = client({ apiKey: process.env.KEBNE_READER });
  await raises(anthropic.PermissionDeniedError, message('good', { using: reader }), 403, 'permission_error');
  await raises(anthropic.ContentTooLargeError, message('good', { padding: 'x'.repeat(17 << 20) }), 413, 'request_too_large');
  await raises(anthropic.NotFoundError, message('nope'), 404, 'not_found_error');
  await raises(anthropic.BadRequestError, message('good', { n: 2 }), 400, 'invalid_request_error');
  await raises(anthropic.RateLimitError, message('quota'), 429, 'rate_limit_error');
  for (const [status, kind] of [[409, anthropic.ConflictError], [422, anthropic.UnprocessableEntityError]]) {
    const messages = [{ role: 'user', content: `${status}` }];
    await raises(kind, message('refusing', { messages }), status, 'invalid_request_error');
  }
  await raises(anthropic.OverloadedError, message('loading', short), 529, 'overloaded_error');
  const using = client({ maxRetries: 3 });
  await raises(anthropic.InternalServerError, message('broken', { using }), 502, 'api_error');
  assert.equal(await answers('broken', 502), 1);
});

check('a stream that is lost in its middle is an error, never a clean end', async () => {
  const stream = client().messages.stream({ model: 'cut', max_tokens: 200, messages: HELLO });
  const error = await stream.finalMessage().then(() => null, (error) => error);
  assert.ok(error instanceof anthropic.AnthropicError, `${error}`);
});

await main('anthropic (Node)');
