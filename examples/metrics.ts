/**
 * Metrics for Prometheus at http://127.0.0.1:9125/metrics: messages accepted,
 * refusals by their reply or limit, deliveries by their result, sessions, and the
 * length of the queue. The log says what is to be counted.
 *
 * ```sh
 * deno run -A examples/metrics.ts
 * ```
 *
 * The arguments may be ports other than 2525 and 9125.
 */

import { logLines, MaildirStore, SmtpServer } from "@smtp/server";

const [port = "2525", webPort = "9125"] = Deno.args;
const warn = logLines("text", { level: "warn" });
const counts: Record<string, number> = {};
const count = (name: string) => counts[name] = (counts[name] ?? 0) + 1;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  store: new MaildirStore({ folder: "./mail" }),
  relay: { from: ["127.0.0.1"], spool: "./spool" },
  log(record) {
    warn(record);
    const { event, fields: { result, reply, limit } = {} } = record;
    const code = /^\d+( \d\.\d+\.\d+)?/.exec(`${reply}`)?.[0];
    if (event === "message") count("smtp_accepted_total");
    if (event === "refused" && code) {
      count(`smtp_refused_total{reason="${limit ?? code}"}`);
    }
    if (event === "delivery") count(`smtp_delivery_total{result="${result}"}`);
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);

Deno.serve({ hostname: "127.0.0.1", port: Number(webPort) }, () => {
  counts.smtp_sessions = server.sessions.length;
  counts.smtp_queue_length = server.relays.count;
  const lines = Object.entries(counts).map((pair) => `${pair.join(" ")}\n`);
  return new Response(lines.sort().join(""));
});
