// Threads, assistants and runs without streams.

import assert from "node:assert/strict";
import { test } from "node:test";
import { client, says, until } from "./world.mjs";

test("a run is waited for and leaves its values", async () => {
  const thread = await client.threads.create({ metadata: { by: "javascript" } });
  const values = await client.runs.wait(thread.thread_id, "chatting", { input: says("hello there") });
  assert.deepEqual(values.messages.map((message) => message.content), ["hello there", "You said hello there"]);
  assert.equal((await client.threads.get(thread.thread_id)).status, "idle");
});

test("a run without a thread is waited for, too", async () => {
  const values = await client.runs.wait(null, "counting", { input: { upto: 2 } });
  assert.deepEqual(values, { upto: 2, counted: [1, 2] });
});

test("threads are found by their metadata", async () => {
  const mark = crypto.randomUUID();
  const made = await client.threads.create({ metadata: { mark } });
  const found = await client.threads.search({ metadata: { mark } });
  assert.deepEqual(found.map((thread) => thread.thread_id), [made.thread_id]);
  await client.threads.update(made.thread_id, { metadata: { more: 1 } });
  assert.deepEqual((await client.threads.get(made.thread_id)).metadata, { mark, more: 1 });
  await client.threads.delete(made.thread_id);
  await assert.rejects(client.threads.get(made.thread_id), /404/);
});

test("every graph has an assistant", async () => {
  const found = await client.assistants.search({ graphId: "chatting" });
  assert.ok(found.some((assistant) => assistant.name === "chatting"));
});

test("a run in the background is joined, listed and deleted", async () => {
  const thread = await client.threads.create();
  const run = await client.runs.create(thread.thread_id, "counting", { input: { upto: 3 } });
  const values = await client.runs.join(thread.thread_id, run.run_id);
  assert.deepEqual(values.counted, [1, 2, 3]);
  assert.equal((await client.runs.get(thread.thread_id, run.run_id)).status, "success");
  assert.equal((await client.runs.list(thread.thread_id)).length, 1);
  await client.runs.delete(thread.thread_id, run.run_id);
  assert.equal((await client.runs.list(thread.thread_id)).length, 0);
});

test("a run is cancelled", async () => {
  const thread = await client.threads.create();
  const run = await client.runs.create(thread.thread_id, "sleeping", { input: says("hello") });
  const status = async () => (await client.runs.get(thread.thread_id, run.run_id)).status;
  await until(async () => (await status()) === "running", "the run is at work");
  await client.runs.cancel(thread.thread_id, run.run_id, true);
  assert.equal(await status(), "interrupted");
});

test("a failed run rejects with what it failed with", async () => {
  const thread = await client.threads.create();
  await assert.rejects(client.runs.wait(thread.thread_id, "failing", { input: says("hello") }), /kaboom/);
  assert.equal((await client.threads.get(thread.thread_id)).status, "error");
});

test("state is read, changed and forked", async () => {
  const { thread_id: id } = await client.threads.create();
  await client.runs.wait(id, "counting", { input: { upto: 2 } });
  await client.threads.updateState(id, { values: { counted: [99] }, asNode: "count" });
  assert.deepEqual((await client.threads.getState(id)).values.counted, [1, 2, 99]);
  const history = await client.threads.getHistory(id);
  const before = history.find((state) => state.next.includes("count"));
  const forked = await client.runs.wait(id, "counting", { input: null, checkpoint: before.checkpoint });
  assert.deepEqual(forked.counted, [1, 2]);
});
