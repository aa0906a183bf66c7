// The React hook `useStream`, rendered without a browser: what it shows of threads, questions and failures.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement } from "react";
import renderer, { act } from "react-test-renderer";
import { useStream } from "@langchain/langgraph-sdk/react";
import { client, says, until, url } from "./world.mjs";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;

/** Render a component that does nothing but hold the hook, and hand `use` a look at what the hook shows now. */
async function withHook(options, use) {
  let shown;
  const Chat = () => {
    shown = useStream({ apiUrl: url, apiKey: null, messagesKey: "messages", ...options });
    return null;
  };
  let root;
  await act(async () => {
    root = renderer.create(createElement(Chat));
  });
  const hook = {
    get now() {
      return shown;
    },
    submit: (values, extra) => act(() => shown.submit(values, extra)),
    until: (condition, what) => until(async () => (await act(async () => {}), condition(shown)), what),
  };
  try {
    await use(hook);
  } finally {
    await act(async () => root.unmount());
  }
}

const texts = (shown) => shown.messages.map((message) => message.content);

test("what is submitted is answered, on a thread that the hook makes", async () => {
  let threadId;
  await withHook({ assistantId: "chatting", onThreadId: (id) => (threadId = id) }, async (hook) => {
    await hook.submit(says("hello there"));
    await hook.until((shown) => !shown.isLoading, "the answer is there");
    assert.deepEqual(texts(hook.now), ["hello there", "You said hello there"]);
    assert.equal(hook.now.error, undefined);
  });
  assert.equal((await client.threads.get(threadId)).status, "idle");
});

test("a thread of before is shown with its history", async () => {
  const { thread_id: threadId } = await client.threads.create();
  await client.runs.wait(threadId, "chatting", { input: says("hello there") });
  await withHook({ assistantId: "chatting", threadId, fetchStateHistory: true }, async (hook) => {
    await hook.until((shown) => shown.messages.length === 2, "the messages of before are shown");
    assert.ok(hook.now.history.length >= 2);
    await hook.submit(says("and again"));
    await hook.until((shown) => !shown.isLoading && shown.messages.length === 4, "the second answer is there");
  });
});

test("a question is shown, and answered", async () => {
  await withHook({ assistantId: "approving", fetchStateHistory: true }, async (hook) => {
    await hook.submit(says("the report"));
    await hook.until((shown) => shown.interrupt?.value, "the question is shown");
    assert.deepEqual(hook.now.interrupt.value, { question: "Send 'the report'?" });
    await hook.submit(undefined, { command: { resume: "yes" } });
    await hook.until((shown) => texts(shown).at(-1) === "Decided: yes", "the answer has arrived");
    assert.equal(hook.now.interrupt, undefined);
  });
});

test("a failure is shown as an error", async () => {
  let told;
  await withHook({ assistantId: "failing", onError: (error) => (told = error) }, async (hook) => {
    await hook.submit(says("hello"));
    await hook.until((shown) => shown.error, "the error is shown");
    assert.match(String(told), /kaboom/);
  });
});

test("events of the graph's own reach their listener", async () => {
  const counted = [];
  const options = { assistantId: "counting", onCustomEvent: (data) => counted.push(data.counted) };
  await withHook(options, async (hook) => {
    await hook.submit({ upto: 3 });
    await hook.until((shown) => !shown.isLoading, "the run has ended");
  });
  assert.deepEqual(counted, [1, 2, 3]);
});

test("a run that goes on is joined by a hook that comes later", async () => {
  const { thread_id: threadId } = await client.threads.create();
  const run = await client.runs.create(threadId, "counting", {
    input: { upto: 20 },
    streamMode: ["custom", "values"],
    streamResumable: true,
  });
  const counted = [];
  const options = { assistantId: "counting", threadId, onCustomEvent: (data) => counted.push(data.counted) };
  await withHook(options, async (hook) => {
    await act(() => hook.now.joinStream(run.run_id, "-1"));
    await hook.until((shown) => shown.values.counted?.length === 20, "the run's values are shown");
  });
  assert.deepEqual(counted, Array.from({ length: 20 }, (_, index) => index + 1));
});
