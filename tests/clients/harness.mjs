// What the checks of all Node clients share: how they are collected, run and reported.

import assert from 'node:assert/strict';

export const URL = process.env.KEBNE_URL;
export const ROOT = URL.replace(/\/v1$/, '');
export const KEY = process.env.KEBNE_KEY;
const checks = [];

/** Adds a check; its sentence is what must be true. */
export const check = (sentence, run) => checks.push([sentence, run]);

/** Returns how often the gateway has answered calls of a model with a status. */
export async function answers(model, status) {
  const response = await fetch(`${ROOT}/metrics`, { headers: { authorization: `Bearer ${KEY}` } });
  const line = `kebne_answers_total{model="${model}",status="${status}"} `;
  const found = (await response.text()).split('\n').find((text) => text.startsWith(line));
  return found ? Number(found.slice(line.length)) : 0;
}

/** Awaits a call that must raise exactly this class, and returns the error. */
export async function raises(kind, promise) {
  const error = await promise.then(() => assert.fail(`${kind.name} was not raised`), (error) => error);
  assert.equal(error.constructor, kind, `${error}`);
  return error;
}

/** Runs all checks and exits with 1 if one failed. */
export async function main(title) {
  let failed = 0;
  for (const [sentence, run] of checks) {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error('no answer in a minute')), 60_000).unref());
    try {
      await Promise.race([run(), late]);
      console.log(`  ok      ${sentence}`);
    } catch (error) {
      failed += 1;
      console.log(`  FAILED  ${sentence}: ${error}`);
    }
  }
  console.log(`  ${checks.length - failed} of ${checks.length} checks passed with ${title}`);
  process.exit(failed ? 1 : 0);
}
