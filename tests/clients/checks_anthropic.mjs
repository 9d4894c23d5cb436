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
  await raises(anthropic.NotFoundError, message('nope'), 404, 'not_found_error');
  await raises(anthropic.BadRequestError, message('good', { n: 2 }), 400, 'invalid_request_error');
  await raises(anthropic.RateLimitError, message('quota'), 429, 'rate_limit_error');
  await raises(anthropic.OverloadedError, message('loading', short), 529, 'overloaded_error');
  await raises(anthropic.InternalServerError, message('broken'), 502, 'api_error');
});

check('a stream that is lost in its middle is an error, never a clean end', async () => {
  const stream = client().messages.stream({ model: 'cut', max_tokens: 200, messages: HELLO });
  const error = await stream.finalMessage().then(() => null, (error) => error);
  assert.ok(error instanceof anthropic.AnthropicError, `${error}`);
});

await main('anthropic (Node)');
