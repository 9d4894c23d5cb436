// Checks the Responses API of the official OpenAI library for Node against the gateway.

import assert from 'node:assert/strict';
import { KEY, URL, answers, check, main, raises as raisesClass } from './harness.mjs';

const openai = await import(process.env.OPENAI_MODULE);
const PIXEL = 'data:image/png;base64,iVBORw0KGgo=';
const PLACE = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const WEATHER = { type: 'function', name: 'weather', strict: true, parameters: PLACE };
const SHORT = { 'x-kebne-deadline-ms': '300' };

const client = (options = {}) => new openai.default({ baseURL: URL, apiKey: KEY, maxRetries: 0, ...options });
const respond = (model, { using = client(), headers, ...more } = {}) =>
  using.responses.create({ model, input: 'hello', ...more }, { headers });

async function raises(kind, promise, status) {
  const error = await raisesClass(kind, promise);
  assert.equal(error.status, status);
  assert.match(error.requestID, /^req_/);
  return error;
}

async function events(model, more) {
  const all = [];
  for await (const event of await respond(model, { stream: true, ...more })) all.push(event);
  return all;
}

check('a response is answered with text, usage and a request id', async () => {
  const answer = await respond('good');
  assert.match(answer.output_text, /hello/);
  assert.equal(answer.status, 'completed');
  assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
  assert.match(answer._request_id, /^req_/);
});

check('the events of a text come in their order, numbered without gaps', async () => {
  const all = await events('clever');
  assert.deepEqual(all.map((event) => event.sequence_number), all.map((_, index) => index));
  assert.deepEqual(all.map((event) => event.type.replace('response.', '')), [
    'created', 'in_progress', 'output_item.added', 'content_part.added', 'output_text.delta', 'output_text.delta',
    'output_text.delta', 'output_text.done', 'content_part.done', 'output_item.done', 'completed']);
  const final = await client().responses.stream({ model: 'clever', input: 'hello' }).finalResponse();
  assert.equal(final.output_text, 'Hello, good day');
});

check('the events of a call come in their order, and the call is the whole of its pieces', async () => {
  const all = await events('clever', { tools: [WEATHER] });
  const kinds = all.map((event) => event.type.replace('response.', '')).filter((kind, index, kinds) => kind !== kinds[index - 1]);
  assert.deepEqual(kinds, ['created', 'in_progress', 'output_item.added', 'function_call_arguments.delta',
    'function_call_arguments.done', 'output_item.done', 'completed']);
  const pieces = all.filter((event) => event.type.endsWith('arguments.delta')).map((event) => event.delta);
  assert.ok(pieces.length > 1);
  assert.equal(all.at(-1).response.output[0].arguments, pieces.join(''));
});

check('a tool is called, and its result continues the response', async () => {
  const first = await respond('clever', { tools: [WEATHER] });
  const call = first.output[0];
  assert.deepEqual(JSON.parse(call.arguments), { city: 'Kiruna' });
  const input = [{ type: 'function_call_output', call_id: call.call_id, output: 'cold' }];
  const second = await respond('clever', { tools: [WEATHER], input, previous_response_id: first.id });
  assert.equal(second.output_text, 'Hello, good day');
  assert.deepEqual(second.asked.messages.map((message) => message.role), ['user', 'assistant', 'tool']);
});

check('an image and structured output reach a chat backend', async () => {
  const input = [{ role: 'user', content: [{ type: 'input_image', image_url: PIXEL, detail: 'low' }] }];
  const text = { format: { type: 'json_schema', name: 'place', strict: true, schema: PLACE } };
  const answer = await client().responses.parse({ model: 'clever', input, text });
  assert.deepEqual(answer.asked.messages[0].content[0].image_url, { url: PIXEL, detail: 'low' });
  assert.deepEqual(answer.asked.response_format.json_schema.schema, PLACE);
  assert.deepEqual(JSON.parse(answer.output_text), { city: 'Kiruna' });
});

check('a response is retrieved and deleted', async () => {
  const { id } = await respond('good');
  assert.equal((await client().responses.retrieve(id)).id, id);
  await client().responses.delete(id);
  await raises(openai.NotFoundError, client().responses.retrieve(id), 404);
});

check('errors have their classes, and are tried again or not', async () => {
  const using = client({ maxRetries: 3 });
  await raises(openai.AuthenticationError, respond('good', { using: client({ apiKey: 'wrong' }) }), 401);
  await raises(openai.PermissionDeniedError, respond('good', { using: client({ apiKey: process.env.KEBNE_READER }) }), 403);
  await raises(openai.NotFoundError, respond('nope'), 404);
  assert.equal((await raises(openai.BadRequestError, respond('good', { background: true }), 400)).param, 'background');
  await raises(openai.RateLimitError, respond('quota', { using }), 429);
  assert.equal(await answers('quota', 429), 1);
  await raises(openai.InternalServerError, respond('loading', { headers: SHORT }), 503);
  await raises(openai.InternalServerError, respond('broken', { using }), 502);
  assert.equal(await answers('broken', 502), 1);
});

check('a client that follows the hints finds a cold model ready', async () => {
  const answer = await respond('cold', { using: client({ maxRetries: 4 }), headers: SHORT });
  assert.ok(answer.output_text);
  assert.ok((await answers('cold', 503)) >= 1);
});

check('a stream that is lost in its middle is an APIError, never a clean end', async () => {
  await raisesClass(openai.APIError, events('cut'));
});

await main('openai (Node, Responses)');
