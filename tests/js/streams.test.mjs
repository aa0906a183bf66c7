// Streams: what they tell, how they are joined, and how they survive a connection that breaks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "@langchain/langgraph-sdk";
import { client, collect, says, until, withBrokenConnections } from "./world.mjs";

const numbers = (parts) => parts.filter((part) => part.event === "custom").map((part) => part.data.counted);

test("a stream tells metadata first, and then the modes that were asked for", async () => {
  const thread = await client.threads.create();
  let created;
  const parts = await collect(
    client.runs.stream(thread.thread_id, "counting", {
      input: { upto: 2 },
      streamMode: ["values", "updates", "custom"],
      onRunCreated: (run) => (created = run),
    }),
  );
  assert.equal(parts[0].event, "metadata");
  assert.equal(parts[0].data.run_id, created.run_id);
  assert.equal(created.thread_id, thread.thread_id);
  assert.deepEqual(numbers(parts), [1, 2]);
  assert.deepEqual(parts.at(-1), { ...parts.at(-1), event: "values", data: { upto: 2, counted: [1, 2] } });
});

test("tokens are streamed as they come", async () => {
  const thread = await client.threads.create();
  const parts = await collect(
    client.runs.stream(thread.thread_id, "chatting", { input: says("hello"), streamMode: "messages-tuple" }),
  );
  const tokens = parts.filter((part) => part.event === "messages").map((part) => part.data[0].content);
  assert.deepEqual(tokens, ["You", " ", "said", " ", "hello"]);
});

test("events of a subgraph carry its namespace", async () => {
  const thread = await client.threads.create();
  const parts = await collect(
    client.runs.stream(thread.thread_id, "delegating", {
      input: says("hello"),
      streamMode: "updates",
      streamSubgraphs: true,
    }),
  );
  const names = parts.slice(1).map((part) => part.event.replace(/:.*/, ""));
  assert.deepEqual(names, ["updates|inner", "updates"]);
});

test("a question is told, and answered by the next run", async () => {
  const { thread_id: id } = await client.threads.create();
  const asked = await collect(client.runs.stream(id, "approving", { input: says("hello"), streamMode: "updates" }));
  const [question] = asked.at(-1).data.__interrupt__;
  assert.deepEqual(question.value, { question: "Send 'hello'?" });
  const paused = await client.threads.get(id);
  assert.equal(paused.status, "interrupted");
  assert.equal(Object.values(paused.interrupts)[0][0].id, question.id);
  const answered = await collect(
    client.runs.stream(id, "approving", { command: { resume: "yes" }, streamMode: "values" }),
  );
  assert.equal(answered.at(-1).data.messages.at(-1).content, "Decided: yes");
});

test("a failure is the last event of a stream", async () => {
  const thread = await client.threads.create();
  const parts = await collect(client.runs.stream(thread.thread_id, "failing", { input: says("hello") }));
  assert.equal(parts.at(-1).event, "error");
  assert.deepEqual(parts.at(-1).data, { error: "ValueError", message: "kaboom" });
});

test("a stream is joined behind the last event that was seen", async () => {
  const { thread_id: id } = await client.threads.create();
  const run = await client.runs.create(id, "counting", {
    input: { upto: 5 },
    streamMode: ["custom", "values"],
    streamResumable: true,
  });
  const all = await collect(client.runs.joinStream(id, run.run_id, { lastEventId: "-1" }));
  assert.deepEqual(numbers(all), [1, 2, 3, 4, 5]);
  const third = all.find((part) => part.data.counted === 3);
  const rest = await collect(client.runs.joinStream(id, run.run_id, { lastEventId: third.id }));
  assert.deepEqual(numbers(rest), [4, 5]);
  const filtered = await collect(
    client.runs.joinStream(id, run.run_id, { lastEventId: "-1", streamMode: "custom" }),
  );
  assert.deepEqual([...new Set(filtered.map((part) => part.event))], ["custom"]);
});

for (const events of [1, 2, 5]) {
  test(`a stream that breaks behind each ${events} events loses and doubles nothing`, async () => {
    const { thread_id: id } = await client.threads.create();
    const broken = await withBrokenConnections({ events, times: 3 }, async (address) => {
      const far = new Client({ apiUrl: address, apiKey: null });
      const parts = await collect(
        far.runs.stream(id, "counting", { input: { upto: 30 }, streamMode: ["custom", "values"], streamResumable: true }),
      );
      assert.deepEqual(numbers(parts), Array.from({ length: 30 }, (_, index) => index + 1));
      assert.equal(parts.at(-1).data.counted.length, 30);
    });
    assert.equal(broken, 3);
  });
}

test("a client that goes away can have its run cancelled", async () => {
  const { thread_id: id } = await client.threads.create();
  const stream = client.runs.stream(id, "sleeping", {
    input: says("hello"),
    streamMode: "messages-tuple",
    onDisconnect: "cancel",
    signal: AbortSignal.timeout(1500),
  });
  await assert.rejects(collect(stream));
  await until(async () => (await client.runs.list(id))[0].status === "interrupted", "the run is interrupted");
});
