/**
 * Next hops that break off, behave inconsistently or have limits. No message is
 * returned for that, and the delivery remembers these facts about a host.
 */

import {
  connectClient,
  type FakeHost,
  FakeNetwork,
  type FakeServerOptions,
  makeDelivery,
} from "../support/client/fake_server.ts";
import { assert, assertEquals } from "@std/assert";
import type { Transport } from "../../lib/net/transport.ts";
import { Address } from "../../lib/protocol/address.ts";
import { ClientCapabilities } from "../../lib/protocol/client/capabilities.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import type { UpgradeTransport } from "../../lib/client/options.ts";
import type { Delivery } from "../../lib/delivery/delivery.ts";
import type {
  DeliveryMachine,
  DeliveryOptions,
} from "../../lib/delivery/options.ts";
import type { DeliveryJob, DeliveryReport } from "../../lib/queue/job.ts";
import { fittingRecipients } from "../../lib/client/sending_plan.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { ScriptedHop } from "../support/client/scripted_hop.ts";
import { until } from "../support/wait.ts";

const certificate = await Certificate.selfSigned({ names: ["hop"] });
const CONTENT = "Subject: x\r\n\r\nx\r\n";

function job(
  to = ["b@d.example"],
  change: Partial<DeliveryJob> = {},
): DeliveryJob {
  const bytes = new TextEncoder().encode(CONTENT);
  return {
    id: "m1",
    from: Address.parse("a@me.example"),
    parameters: {},
    recipients: to.map((text) => ({
      address: Address.parse(text),
      parameters: {},
    })),
    destination: "d.example",
    size: bytes.length,
    acceptedAt: 0,
    attempt: 1,
    content: () => ReadableStream.from([bytes]),
    ...change,
  };
}

function short({ recipients }: DeliveryReport): string {
  return recipients.map(({ status, reply }) =>
    status === "delivered" ? "ok" : `${status} ${reply?.code}`
  ).join(", ");
}

const DNS = {
  mx: () =>
    Promise.resolve(
      {
        status: "found",
        records: [{ exchange: "hop", preference: 0 }],
      } as const,
    ),
  addresses: () =>
    Promise.resolve({ status: "found", records: ["10.0.0.1"] } as const),
};

function start(
  host: FakeHost,
  options: Partial<DeliveryOptions & DeliveryMachine> = {},
): [Delivery, FakeNetwork] {
  const network = new FakeNetwork({ "10.0.0.1": host });
  const delivery = makeDelivery({
    hostname: "me.example",
    dns: DNS,
    connect: network.connect,
    ...options,
  });
  return [delivery, network];
}

/** TLS in name only; `mayStay` says whether the session outlives its handshake. */
function upgradeTo(mayStay: () => boolean): UpgradeTransport {
  return (inner) => {
    const stays = mayStay();
    const tls = { protocol: "TLSv1.3", cipher: "", authorized: false };
    const transport: Transport = {
      remote: inner.remote,
      local: inner.local,
      tls,
      read: (buffer) => stays ? inner.read(buffer) : Promise.resolve(null),
      write: (bytes) => stays ? inner.write(bytes) : Promise.resolve(),
      close: () => inner.close(),
    };
    return Promise.resolve({
      transport,
      certificate,
      authorizationError: "self signed",
    });
  };
}

const NO_TLS: FakeServerOptions["faults"] = {
  MAIL: "530 5.7.0 Must issue a STARTTLS command first",
};

Deno.test("Delivery tries TLS again at a host that broke it once and refuses mail without it", async () => {
  const host: FakeServerOptions = { capabilities: ["STARTTLS"] };
  let isBroken = true;
  const [delivery] = start(host, {
    upgrade: (inner, options) =>
      isBroken
        ? Promise.reject(new Error("Bad handshake"))
        : upgradeTo(() => true)(inner, options),
  });
  host.faults = NO_TLS!;
  assertEquals(short(await delivery.deliver(job())), "deferred 530");
  isBroken = false;
  host.faults = {};
  const steps: string[] = [];
  const onState = (step: string) => steps.push(step);
  assertEquals(
    short(await delivery.deliver(job(undefined, { onState }))),
    "ok",
  );
  assert(steps.includes("tls-established"), steps.join());
  await delivery.close();
});

Deno.test("Delivery never returns a message because its session lacks TLS or login", async () => {
  const smarthosts = [{ host: "hop" }];
  const rows: [
    FakeServerOptions,
    Partial<DeliveryOptions & DeliveryMachine>,
    string,
  ][] = [
    [{ faults: NO_TLS! }, {}, "deferred 530"],
    [{ faults: { MAIL: "530 5.7.0 Authentication required" } }, {
      smarthosts,
    }, "deferred 530"],
    [{ faults: { RCPT: "530 5.7.0 x" } }, {}, "deferred 530"],
    [{ faults: { RCPT: "538 5.7.11 x" } }, {}, "deferred 538"],
    [{ faults: { MAIL: "554 5.7.10 Encryption needed" } }, {}, "deferred 554"],
    [{ faults: { DATA: "530 x" } }, {}, "deferred 530"],
    [{ faults: { end: "530 x" } }, {}, "deferred 530"],
    [{ faults: { greeting: "554 5.7.1 No" } }, { smarthosts }, "deferred 554"],
    [
      { faults: { EHLO: "550 No", HELO: "550 No" } },
      { smarthosts },
      "deferred 550",
    ],
    [{ faults: { MAIL: "550 5.7.1 x" } }, { smarthosts }, "failed 550"],
    [{ faults: { RCPT: "550 5.1.1 x" } }, { smarthosts }, "failed 550"],
    [{ faults: { greeting: "554 5.7.1 No" } }, {}, "deferred 554"],
    [{ faults: { greeting: "521 5.3.2 No mail" } }, {}, "failed 521"],
  ];
  for (const [host, options, want] of rows) {
    const [delivery, network] = start(host, options);
    const got = short(await delivery.deliver(job()));
    assertEquals(got, want, JSON.stringify([host, options]));
    await delivery.close();
    assertEquals(network.open, 0);
  }
});

Deno.test("Delivery goes on in the clear when a host ends two sessions right after their handshake", async () => {
  let upgrades = 0;
  const [delivery, network] = start({ capabilities: ["STARTTLS"] }, {
    upgrade: upgradeTo(() => {
      upgrades++;
      return false;
    }),
    pool: { maxIdlePerKey: 0 },
  });
  for (const [connects, handshakes] of [[3, 2], [4, 2]]) {
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals([network.connects.length, upgrades], [connects, handshakes]);
  }
  await delivery.close();
});

Deno.test("Delivery goes on in the clear when a host ends two sessions in place of an answer to STARTTLS", async () => {
  const [delivery, network] = start({
    capabilities: ["STARTTLS"],
    faults: { STARTTLS: "drop" },
  });
  assertEquals(short(await delivery.deliver(job())), "ok");
  assertEquals(network.connects.length, 3);
  assertEquals(delivery.brokenTls.size, 1);
  await delivery.close();
  for (const security of ["required", "verified"] as const) {
    const [strict, other] = start({
      capabilities: ["STARTTLS"],
      faults: { STARTTLS: "drop" },
    }, { security });
    assertEquals(short(await strict.deliver(job())), "deferred 451");
    assertEquals(other.servers[0]!.lines, ["EHLO me.example", "STARTTLS"]);
    await strict.close();
  }
});

Deno.test("Delivery leaves a host that sends unexpected replies for the next one", async () => {
  const network = new FakeNetwork({
    "10.0.0.1": { faults: { EHLO: "250 fake\r\n250 more" } },
    "10.0.0.2": {},
  });
  await using delivery = makeDelivery({
    hostname: "me.example",
    dns: {
      ...DNS,
      addresses: () =>
        Promise.resolve({ status: "found", records: ["10.0.0.1", "10.0.0.2"] }),
    },
    connect: network.connect,
  });
  assertEquals(short(await delivery.deliver(job())), "ok");
  network.hosts["10.0.0.2"] = "refused";
  await delivery.pool.close();
  const report = await delivery.deliver(job());
  assertEquals(report.error, undefined);
  assertEquals(report.recipients[0]!.status, "deferred");
});

Deno.test("Delivery asks a new session when an idle one ends while the content is looked at", async () => {
  await using hop = new ScriptedHop((line) =>
    /^(EHLO|MAIL|RCPT|QUIT|\.$)/.test(line)
      ? "250 ok"
      : line === "DATA"
      ? "354 go"
      : undefined
  );
  await using delivery = makeDelivery({
    hostname: "me.example",
    dns: DNS,
    smarthosts: [{ host: "127.0.0.1", port: hop.port }],
  });
  assertEquals(short(await delivery.deliver(job())), "ok");
  // Bare LF and too large for memory: the delivery reads it once more for its size.
  const piece = new TextEncoder().encode("x\n".repeat(20_000));
  let opened = 0;
  const report = await delivery.deliver(job(undefined, {
    size: 10 * piece.length,
    content: async function* () {
      if (++opened === 2) {
        await hop.say("421 4.4.2 idle too long");
        // The delivery has closed it.
        await until(() => hop.open === 0);
      }
      for (let count = 0; count < 10; count++) yield piece;
    },
  }));
  assertEquals(report.error, undefined);
  assertEquals(short(report), "ok");
  assertEquals(hop.connections, 2);
});

Deno.test("Delivery keeps TLS when a host ended only one session after its handshake", async () => {
  let upgrades = 0;
  const [delivery, network] = start({ capabilities: ["STARTTLS"] }, {
    upgrade: upgradeTo(() => ++upgrades > 1),
  });
  const steps: string[] = [];
  const onState = (step: string) => steps.push(step);
  const report = await delivery.deliver(job(undefined, { onState }));
  assertEquals(short(report), "ok");
  assertEquals(network.connects.length, 2);
  assertEquals(delivery.brokenTls.size, 0);
  await delivery.close();
});

Deno.test("Delivery never leaves TLS where it is required, though the host ends each session", async () => {
  const [delivery, network] = start({ capabilities: ["STARTTLS"] }, {
    upgrade: upgradeTo(() => false),
    security: "required",
  });
  assertEquals(short(await delivery.deliver(job())), "deferred 451");
  assert(network.servers.every(({ lines }) => !lines.join().includes("MAIL")));
  await delivery.close();
});

const BDAT = ["PIPELINING", "CHUNKING", "8BITMIME", "BINARYMIME"];

for (const code of ["500 5.5.1", "502 5.5.1", "503 5.5.1", "504 5.5.4"]) {
  Deno.test(`Delivery uses DATA at once where BDAT is answered with ${code}, and from then on`, async () => {
    // The fake's fault holds for the end of DATA, too: it ends with the first session.
    const network = new FakeNetwork({
      "10.0.0.1": { capabilities: BDAT, faults: { end: `${code} x` } },
    });
    const delivery = makeDelivery({
      hostname: "me.example",
      dns: DNS,
      connect: (options) => {
        const made = network.connect(options);
        network.hosts["10.0.0.1"] = { capabilities: BDAT };
        return made;
      },
      pool: { maxIdlePerKey: 0 },
    });
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(short(await delivery.deliver(job())), "ok");
    const said = network.servers.map(({ lines }) =>
      lines.some((line) => line.startsWith("BDAT")) ? "BDAT" : "DATA"
    );
    assertEquals(said, ["BDAT", "DATA", "DATA"]);
    const binary = { parameters: { body: "BINARYMIME" } } as const;
    assertEquals(short(await delivery.deliver(job(undefined, binary))), "ok");
    assert(!network.servers.at(-1)!.lines.join().includes("BDAT"));
    await delivery.close();
  });
}

Deno.test("Delivery does not send twice at once where BDAT has no answer, and uses DATA at the next try", async () => {
  const [delivery, network] = start(
    { capabilities: BDAT, faults: { end: "drop" } },
  );
  assertEquals(short(await delivery.deliver(job())), "deferred 451");
  assertEquals(network.connects.length, 1);
  network.hosts["10.0.0.1"] = { capabilities: BDAT };
  assertEquals(short(await delivery.deliver(job())), "ok");
  assert(network.servers[1]!.lines.includes("DATA"));
  await delivery.close();
});

Deno.test("Delivery returns what is refused with 500 at the end of DATA", async () => {
  const [delivery, network] = start({ faults: { end: "500 x" } });
  assertEquals(short(await delivery.deliver(job())), "failed 500");
  assertEquals(network.connects.length, 1);
  await delivery.close();
});

/** A hop on a real socket that accepts everything by default. */
function hop(
  answer: (line: string, connection: number) => string | undefined = () =>
    undefined,
): ScriptedHop {
  const inData = new Set<number>();
  return new ScriptedHop((line, _pause, connection) => {
    if (inData.has(connection) && line !== ".") return undefined;
    inData.delete(connection);
    const said = answer(line, connection);
    if (said !== undefined) return said;
    if (line === "DATA") {
      inData.add(connection);
      return "354 Go on";
    }
    return line === "QUIT" ? "221 Bye" : "250 Ok";
  });
}

function deliveryTo(place: ScriptedHop): Delivery {
  return makeDelivery({
    dns: DNS,
    smarthosts: [{ host: "127.0.0.1", port: place.port }],
  });
}

for (
  const word of ["554 5.4.7 idle too long", "421 idle", "250 hello", "no reply"]
) {
  Deno.test(`Delivery takes "${word}" on an idle session for its end`, async () => {
    await using place = hop();
    await using delivery = deliveryTo(place);
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(delivery.pool.size, 1);
    await place.say(word);
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(place.connections, 2);
  });
}

for (const word of ["554 5.4.7 idle too long", "421 bye", "450 x", "drop"]) {
  Deno.test(`Delivery asks a new session when a used one answers MAIL with "${word}"`, async () => {
    let mails = 0;
    await using place = hop((line) =>
      line.startsWith("MAIL") && ++mails === 2 ? word : undefined
    );
    await using delivery = deliveryTo(place);
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(place.connections, 2);
  });
}

Deno.test("Delivery returns a message that two sessions refuse", async () => {
  let mails = 0;
  await using place = hop((line) =>
    line.startsWith("MAIL") && ++mails > 1 ? "550 5.7.1 No" : undefined
  );
  await using delivery = deliveryTo(place);
  assertEquals(short(await delivery.deliver(job())), "ok");
  assertEquals(short(await delivery.deliver(job())), "failed 550");
  assertEquals(mails, 3);
});

for (const verb of ["RCPT", "DATA"]) {
  Deno.test(`Delivery takes 421 at ${verb} of a used session for its end`, async () => {
    let seen = 0;
    await using place = hop((line) =>
      line.startsWith(verb) && ++seen === 2 ? "421 4.7.0 Too many" : undefined
    );
    await using delivery = deliveryTo(place);
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(short(await delivery.deliver(job())), "ok");
    assertEquals(place.connections, 2);
  });
}

Deno.test("Delivery keeps to LIMITS", async () => {
  const to = Array.from({ length: 10 }, (_, at) => `r${at}@d.example`);
  const [delivery, network] = start({
    capabilities: ["LIMITS RCPTMAX=4 MAILMAX=2", "PIPELINING"],
  });
  assertEquals(
    short(await delivery.deliver(job(to))),
    Array(10).fill("ok").join(", "),
  );
  assertEquals(
    network.servers.map(({ messages }) =>
      messages.map(({ rcpt }) => rcpt.length)
    ),
    [[4, 4], [2]],
  );
  assertEquals(short(await delivery.deliver(job())), "ok");
  assertEquals(network.servers.length, 2);
  assertEquals(short(await delivery.deliver(job())), "ok");
  assertEquals(network.servers.length, 3);
  await delivery.close();
});

Deno.test("Delivery sends to each recipient though those before were all refused", async () => {
  const to = Array.from({ length: 5 }, (_, at) => `r${at}@d.example`);
  const [delivery] = start({
    capabilities: ["LIMITS RCPTMAX=2"],
    faults: { "RCPT 1": "550 5.1.1 x" },
  });
  assertEquals(
    short(await delivery.deliver(job(to))),
    "failed 550, ok, failed 550, ok, failed 550",
  );
  await delivery.close();
});

Deno.test("Delivery fails all the rest with a session that broke", async () => {
  const to = Array.from({ length: 50 }, (_, at) => `r${at}@d.example`);
  const [delivery, network] = start({
    capabilities: ["LIMITS RCPTMAX=2"],
    faults: { MAIL: "drop" },
  });
  const report = await delivery.deliver(job(to));
  assert(report.recipients.every(({ status }) => status === "deferred"));
  assertEquals(network.connects.length, 1);
  await delivery.close();
});

Deno.test("fittingRecipients() counts recipients and domains", () => {
  const limits = (text: string) =>
    ClientCapabilities.parse(
      new SmtpReply(250, ["x", text], { enhanced: undefined }),
    ).limits;
  const domains = ["a", "b", "A", "c", "b"];
  const rows: [string, number[]][] = [
    ["SIZE", [0, 1, 2, 3, 4]],
    ["LIMITS", [0, 1, 2, 3, 4]],
    ["LIMITS RCPTMAX=3", [0, 1, 2]],
    ["LIMITS rcptmax=3 OTHER=7", [0, 1, 2]],
    ["LIMITS RCPTMAX=0", [0, 1, 2, 3, 4]],
    ["LIMITS RCPTMAX=x RCPTMAX=-1 RCPTMAX=1234567", [0, 1, 2, 3, 4]],
    ["LIMITS RCPTDOMAINMAX=1", [0, 2]],
    ["LIMITS RCPTDOMAINMAX=2 RCPTMAX=3", [0, 1, 2]],
    ["LIMITS RCPTDOMAINMAX=2", [0, 1, 2, 4]],
  ];
  for (const [text, want] of rows) {
    assertEquals(fittingRecipients(domains, limits(text)), want, text);
  }
  assertEquals(limits("LIMITS MAILMAX=2").mailMax, 2);
});

Deno.test("SmtpClient.send() leaves recipients beyond the limit to another transaction", async () => {
  const network = new FakeNetwork({
    hop: { capabilities: ["LIMITS RCPTMAX=2 MAILMAX=1"] },
  });
  await using client = await connectClient({
    host: "hop",
    connect: network.connect,
  });
  const { recipients, accepted } = await client.send({
    from: "a@me.example",
    to: ["b@d.example", "c@d.example", "d@d.example"],
    data: CONTENT,
  });
  assertEquals(accepted, false);
  assertEquals(recipients.map(({ reply }) => reply.enhanced), [
    "2.6.0",
    "2.6.0",
    "4.5.3",
  ]);
  assertEquals(client.isReusable, false);
});
