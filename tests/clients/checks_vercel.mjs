// Checks the Vercel AI SDK against the gateway: its OpenAI provider (chat and Responses), the one for compatible servers,
// and the one for Anthropic.

import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { KEY, ROOT, URL, answers, check, main, raises } from './harness.mjs';

const load = (name) => import(pathToFileURL(`${process.env.NODE_MODULES}/${name}/dist/index.js`));
const ai = await load('ai');
const { createOpenAI } = await load('@ai-sdk/openai');
const { createOpenAICompatible } = await load('@ai-sdk/openai-compatible');
const { createAnthropic } = await load('@ai-sdk/anthropic');

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const SHORT = { 'x-kebne-deadline-ms': '300' };

// Each provider by its name: how a model of it is made, with any key.
const PROVIDERS = {
  chat: (model, apiKey = KEY) => createOpenAI({ baseURL: URL, apiKey }).chat(model),
  responses: (model, apiKey = KEY) => createOpenAI({ baseURL: URL, apiKey }).responses(model),
  compatible: (model, apiKey = KEY) =>
    createOpenAICompatible({ name: 'kebne', baseURL: URL, apiKey, includeUsage: true, supportsStructuredOutputs: true })(model),
  anthropic: (model, apiKey = KEY) => createAnthropic({ baseURL: URL, apiKey })(model),
};

// The tool answers with the city that it was called with.
const weather = () => ai.tool({
  description: 'Tells the weather',
  inputSchema: ai.jsonSchema(CITY),
  execute: async ({ city }) => `cold in ${city}`,
});
const generate = (model, more) => ai.generateText({ model, prompt: 'hello', maxOutputTokens: 200, maxRetries: 0, include: { responseBody: true }, ...more });
// Errors of a stream arrive as a part of it; nothing is printed.
const stream = (model, more) =>
  ai.streamText({ model, prompt: 'hello', maxOutputTokens: 200, maxRetries: 0, onError: () => {}, ...more });

async function parts(result) {
  const all = [];
  // `custom` tells the id of an answer of Anthropic's provider.
  for await (const part of result.fullStream) if (part.type !== 'custom') all.push(part);
  return all;
}

for (const [name, model] of Object.entries(PROVIDERS)) {
  check(`${name}: a text is answered with its usage, its reason to stop and no warning`, async () => {
    const answer = await generate(model('good'));
    assert.match(answer.text, /hello/);
    assert.equal(answer.finishReason, 'stop');
    assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0, JSON.stringify(answer.usage));
    assert.match(answer.response.headers['x-request-id'], /^req_/);
    assert.deepEqual(answer.warnings ?? [], []);
  });

  check(`${name}: the parts of a stream come in their order and end with usage`, async () => {
    const all = await parts(stream(model('good')));
    const kinds = all.map((part) => part.type).filter((type, index, types) => type !== types[index - 1]);
    assert.deepEqual(kinds, ['start', 'start-step', 'text-start', 'text-delta', 'text-end', 'finish-step', 'finish']);
    const texts = all.filter((part) => part.type === 'text-delta').map((part) => part.text);
    assert.match(texts.join(''), /hello/);
    assert.ok(texts.length > 1, 'the text comes in pieces');
    const last = all.at(-1);
    assert.equal(last.finishReason, 'stop');
    assert.ok(last.totalUsage.inputTokens > 0 && last.totalUsage.outputTokens > 0, JSON.stringify(last.totalUsage));
  });

  check(`${name}: a bound on the tokens is the reason to stop`, async () => {
    assert.equal((await generate(model('good'), { maxOutputTokens: 1 })).finishReason, 'length');
  });

  check(`${name}: a tool is called, run, and its result is answered`, async () => {
    const answer = await generate(model('clever'), { tools: { weather: weather() }, stopWhen: ai.stepCountIs(3) });
    assert.equal(answer.steps.length, 2);
    assert.deepEqual(answer.steps[0].toolCalls[0].input, { city: 'Kiruna' });
    assert.equal(answer.steps[0].finishReason, 'tool-calls');
    assert.equal(answer.steps[0].toolResults[0].output, 'cold in Kiruna');
    assert.equal(answer.text, 'Hello, good day');
    const asked = answer.response.body.asked.messages;
    assert.deepEqual(asked.map((message) => message.role), ['user', 'assistant', 'tool']);
    assert.equal(asked[2].content, 'cold in Kiruna');
    assert.equal(asked[2].tool_call_id, asked[1].tool_calls[0].id);
  });

  check(`${name}: a call of a tool is streamed in pieces, run, and its result is answered`, async () => {
    const all = await parts(stream(model('clever'), { tools: { weather: weather() }, stopWhen: ai.stepCountIs(3) }));
    const pieces = all.filter((part) => part.type === 'tool-input-delta').map((part) => part.delta);
    assert.deepEqual(JSON.parse(pieces.join('')), { city: 'Kiruna' });
    assert.ok(pieces.length > 1, 'the arguments come in pieces');
    assert.equal(all.find((part) => part.type === 'tool-result').output, 'cold in Kiruna');
    assert.equal(all.filter((part) => part.type === 'text-delta').map((part) => part.text).join(''), 'Hello, good day');
    assert.equal(all.at(-1).finishReason, 'stop');
  });

  check(`${name}: an image reaches a chat backend`, async () => {
    const content = [{ type: 'text', text: 'what is this?' }, { type: 'file', data: PIXEL, mediaType: 'image/png' }];
    const answer = await generate(model('clever'), { prompt: undefined, messages: [{ role: 'user', content }] });
    const sent = answer.response.body.asked.messages[0].content;
    assert.equal(sent[0].text, 'what is this?');
    assert.equal(sent[1].image_url.url, `data:image/png;base64,${PIXEL}`);
  });

  check(`${name}: structured output is asked for and read, whole and streamed`, async () => {
    const output = () => ai.Output.object({ schema: ai.jsonSchema(CITY), name: 'place' });
    const answer = await generate(model('clever'), { output: output() });
    assert.deepEqual(answer.output, { city: 'Kiruna' });
    // The provider of Anthropic's asks models that it does not know by a tool.
    const asked = answer.response.body.asked;
    const schema = asked.response_format?.json_schema?.schema ?? asked.tools[0].function.parameters;
    assert.deepEqual(Object.keys(schema.properties), ['city']);
    assert.deepEqual(await stream(model('clever'), { output: output() }).output, { city: 'Kiruna' });
  });

  check(`${name}: instructions and settings reach a chat backend`, async () => {
    const answer = await generate(model('clever'), { instructions: 'be brief', temperature: 0.5, maxOutputTokens: 99 });
    const asked = answer.response.body.asked;
    assert.match(asked.messages[0].role, /^(system|developer)$/);
    assert.equal(asked.messages[0].content, 'be brief');
    assert.equal(asked.temperature, 0.5);
    assert.equal(asked.max_tokens ?? asked.max_completion_tokens, 99);
  });

  check(`${name}: errors have the gateway's status and words, and are tried again or not`, async () => {
    const lost = name === 'anthropic' ? 529 : 503;
    const table = [
      [model('good'), 400, false, /deadline/, { 'x-kebne-deadline-ms': 'soon' }],
      [model('good', 'wrong'), 401, false, /key/],
      [model('nope'), 404, false, /nope/],
      [model('quota'), 429, true, /quota|credit/i],
      [model('loading'), lost, true, /load/, SHORT],
      [model('broken'), 502, true, /./],
      [model('slow'), 504, true, /./],
    ];
    for (const [asked, status, again, words, headers] of table) {
      const error = await raises(ai.APICallError, generate(asked, { headers }));
      assert.equal(error.statusCode, status, `${error}`);
      assert.equal(error.isRetryable, again, `${status}`);
      assert.match(error.message, words);
      assert.match(error.responseHeaders['x-request-id'], /^req_/);
    }
  });

  check(`${name}: a stream that is lost in its middle is an error, never a clean end`, async () => {
    const all = await parts(stream(model('cut')));
    assert.ok(all.some((part) => part.type === 'error'), all.map((part) => part.type).join(' '));
    assert.notEqual(all.at(-1).finishReason, 'stop');
  });

  check(`${name}: a caller can leave`, async () => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), 300);
    const error = await generate(model('silent'), { abortSignal: leave.signal }).catch((error) => error);
    assert.equal(error.name, 'AbortError', `${error}`);
  });
}

check('a full queue is tried again after the hint and then given up', async () => {
  const leave = new AbortController();
  const headers = { 'x-kebne-deadline-ms': '60000' };
  const busy = generate(PROVIDERS.chat('full'), { headers, abortSignal: leave.signal }).catch((error) => error);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const since = performance.now();
  const error = await raises(ai.RetryError, generate(PROVIDERS.chat('full'), { maxRetries: 2 }));
  assert.deepEqual(error.errors.map((one) => one.statusCode), [429, 429, 429]);
  const took = performance.now() - since;
  const hints = error.errors.slice(0, 2).map((one) => Number(one.responseHeaders['retry-after-ms']));
  const hinted = hints.reduce((sum, hint) => sum + hint, 0);
  assert.ok(took >= hinted, `${took} ms, though ${hints} ms were asked for`);
  assert.equal(await answers('full', 429), 3);
  leave.abort();
  await busy;
});

for (const [name, cold, status] of [['chat', 'cold', 503], ['anthropic', 'cold-too', 529]]) {
  check(`${name}: a client that follows the hints finds a cold model ready`, async () => {
    const answer = await generate(PROVIDERS[name](cold), { maxRetries: 4, headers: SHORT });
    assert.ok(answer.text);
    assert.ok((await answers(cold, status)) >= 1);
  });
}

check("thinking of a backend of Anthropic's comes with its signature, whole and streamed", async () => {
  const answer = await generate(PROVIDERS.anthropic('claude'), { tools: { weather: weather() } });
  assert.equal(answer.reasoningText, 'hm');
  assert.equal(answer.reasoning[0].providerMetadata.anthropic.signature, 'signed');
  assert.deepEqual(answer.toolCalls[0].input, { city: 'Kiruna' });
  const all = await parts(stream(PROVIDERS.anthropic('claude'), { tools: { weather: weather() } }));
  assert.equal(all.filter((part) => part.type === 'reasoning-delta').map((part) => part.text).join(''), 'hm');
  assert.deepEqual(all.find((part) => part.type === 'tool-call').input, { city: 'Kiruna' });
});

check('texts are embedded, one and many', async () => {
  const model = createOpenAI({ baseURL: URL, apiKey: KEY }).embedding('good');
  const { embedding } = await ai.embed({ model, value: 'hello', maxRetries: 0 });
  const { embeddings, usage } = await ai.embedMany({ model, values: ['a', 'b'], maxRetries: 0 });
  assert.equal(embeddings.length, 2);
  assert.equal(embeddings[0].length, embedding.length);
  assert.ok(usage.tokens > 0);
});

await main('the AI SDK');
