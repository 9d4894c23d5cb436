// Checks vector stores and file search of the official OpenAI library for Node against the gateway.

import assert from 'node:assert/strict';
import { KEY, URL, check, main } from './harness.mjs';

const openai = await import(process.env.OPENAI_MODULE);
const client = new openai.default({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const POLL = { pollIntervalMs: 50 };
const QUESTION = 'How long is the lake Tornetrask?';

const text = (name, content) => openai.toFile(Buffer.from(content), name);

async function filled() {
  const store = await client.vectorStores.create({ name: 'north' });
  const files = await Promise.all([
    text('lake.md', '# Lakes\n\nThe lake Tornetrask is 70 kilometres long.'),
    text('mountain.txt', 'Kebnekaise is the highest mountain of Sweden.'),
  ]);
  const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files }, POLL);
  assert.equal(batch.status, 'completed');
  assert.equal(batch.file_counts.completed, 2);
  return { store: store.id, batch };
}

check('a batch of files is uploaded, polled, listed and searched', async () => {
  const { store, batch } = await filled();
  const names = [];
  for await (const file of client.vectorStores.fileBatches.listFiles(batch.id, { vector_store_id: store })) {
    names.push((await client.files.retrieve(file.id)).filename);
  }
  assert.deepEqual(names.sort(), ['lake.md', 'mountain.txt']);
  const one = await client.vectorStores.files.uploadAndPoll(store, await text('more.txt', 'More.'), POLL);
  assert.equal(one.status, 'completed');
  const found = await client.vectorStores.search(store, { query: QUESTION });
  assert.equal(found.data[0].filename, 'lake.md');
  const again = await client.vectorStores.fileBatches.retrieve(batch.id, { vector_store_id: store });
  assert.deepEqual(again.file_counts, batch.file_counts);
});

check('the tool file_search finds, reports and cites', async () => {
  const { store } = await filled();
  const tools = [{ type: 'file_search', vector_store_ids: [store], max_num_results: 3 }];
  const response = await client.responses.create({ model: 'citing', input: QUESTION, tools, include: ['file_search_call.results'] });
  const [call, message] = response.output;
  assert.equal(call.type, 'file_search_call');
  assert.deepEqual(call.queries, [QUESTION]);
  assert.equal(call.results[0].filename, 'lake.md');
  const [cited] = message.content[0].annotations;
  assert.equal(cited.type, 'file_citation');
  assert.equal(cited.file_id, call.results[0].file_id);
  assert.equal(message.content[0].text.slice(cited.index, cited.index + 3), '[1]');
});

check('the tool file_search is reported in a stream as it happens', async () => {
  const { store } = await filled();
  const tools = [{ type: 'file_search', vector_store_ids: [store] }];
  const kinds = [];
  const stream = client.responses.stream({ model: 'citing', input: QUESTION, tools });
  for await (const event of stream) kinds.push(event.type);
  const final = await stream.finalResponse();
  assert.deepEqual(final.output.map((item) => item.type), ['file_search_call', 'message']);
  const steps = kinds.filter((kind) => kind.includes('file_search'));
  assert.deepEqual(steps, ['in_progress', 'searching', 'completed'].map((step) => `response.file_search_call.${step}`));
  assert.ok(kinds.includes('response.output_text.annotation.added'));
  assert.equal(final.output[1].content[0].annotations[0].filename, 'lake.md');
});

await main('openai for Node');
