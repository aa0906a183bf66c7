// Owns what the tests here share: the client, the connection that breaks, and waiting for what will be so.

import { createServer, request } from "node:http";
import { Client } from "@langchain/langgraph-sdk";

export const url = process.env.THREADLINE_URL;

/** The official client; against a server of your own that is all there is to change. */
export const client = new Client({ apiUrl: url, apiKey: null });

export const says = (content) => ({ messages: [{ type: "human", content }] });

export async function collect(stream) {
  const parts = [];
  // A heartbeat, which a slow machine may have before anything else, is a part without a name to this client.
  for await (const part of stream) if (part.event !== "") parts.push(part);
  return parts;
}

/**
 * Run `use` with the address of a proxy that breaks streams off behind `events` events each, `times` times.
 * That is what a client sees of a network that fails, and of a server that is stopped.
 */
export async function withBrokenConnections({ events, times }, use) {
  let broken = 0;
  const proxy = createServer((incoming, outgoing) => {
    const { method, headers } = incoming;
    const forwarded = request(url + incoming.url, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      const breaks = answer.headers["content-type"]?.startsWith("text/event-stream") && broken < times;
      let text = "";
      let left = events;
      answer.on("data", (chunk) => {
        if (!breaks) return outgoing.write(chunk);
        text += chunk;
        const frames = text.split(/(?<=\r\n\r\n)/);
        text = frames.at(-1).endsWith("\r\n\r\n") ? "" : frames.pop();
        const sent = frames.slice(0, left).join("");
        left -= frames.length;
        if (left > 0) return outgoing.write(sent);
        broken += 1;
        answer.removeAllListeners("data");
        return outgoing.write(sent, () => setTimeout(() => outgoing.destroy(), 10));
      });
      answer.on("end", () => left > 0 && outgoing.end());
      answer.on("error", () => outgoing.destroy());
    });
    forwarded.on("error", () => outgoing.destroy());
    incoming.pipe(forwarded);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${proxy.address().port}`);
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
  return broken;
}

export async function until(condition, what) {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
