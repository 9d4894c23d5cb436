// The official packages for TypeScript as clients of the gateway: that of the era of sessions, and the new one.
//
// usage: checks.mjs URL KEY FOLDER

import assert from "node:assert/strict";

const [url, key, folder] = process.argv.slice(2);
const requestInit = { headers: { authorization: `Bearer ${key}` } };

async function check(name, { Client, StreamableHTTPClientTransport }, options) {
  const client = new Client({ name: "checks", version: "1" }, options);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  assert(names.includes("files__read_text_file") && names.includes("everything__echo"), names.join());
  const read = await client.callTool({ name: "files__read_text_file", arguments: { path: `${folder}/a.txt` } });
  assert.equal(read.content[0].text, "hello from a file");
  const outside = await client.callTool({ name: "files__read_text_file", arguments: { path: "/etc/passwd" } });
  assert(outside.isError);
  await assert.rejects(client.callTool({ name: "files__nothing", arguments: {} }));
  await client.close();
  console.log(`typescript, ${name}: all checks passed`);
}

const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
await check("sdk", { Client, StreamableHTTPClientTransport });
const modern = await import("@modelcontextprotocol/client");
await check("client", modern);
await check("client, 2026-07-28", modern, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
