/**
 * Domains whose mail would come back to this server, or go to a port of this
 * machine that is not public. Any owner of a zone can publish one.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-6.3 | RFC 5321 section 6.3},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { testDns } from "../../lib/testing/mod.ts";
import type { DnsResolver } from "../../lib/dns/seams.ts";
import type { RelayingOptions } from "../../lib/delivery/options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

/** Hosts of domains; an IP address in place of a name is published as it is. */
const HOSTS: Readonly<Record<string, readonly string[]>> = {
  "loopback.test": ["127.0.0.1"],
  "whole.test": ["127.9.8.7"],
  "six.test": ["::1"],
  "mapped.test": ["::ffff:127.0.0.1"],
  "nowhere.test": ["0.0.0.0"],
  "zero.test": ["0.1.2.3"],
  "nowhere6.test": ["::"],
};

function resolver(
  literal: Readonly<Record<string, string>>,
): DnsResolver {
  return (name, type) => {
    const domain = name.replace(/^mx\./, "").slice(0, -1);
    const isMx = type === "MX" && !name.startsWith("mx.");
    if (isMx && literal[domain] !== undefined) {
      return Promise.resolve([{ preference: 1, exchange: literal[domain] }]);
    }
    if (isMx && HOSTS[domain] !== undefined) {
      return Promise.resolve([{ preference: 1, exchange: `mx.${domain}.` }]);
    }
    const found = name.startsWith("mx.")
      ? (HOSTS[domain] ?? []).filter((address) =>
        address.includes(":") === (type === "AAAA")
      )
      : [];
    if (found.length > 0 && (type === "A" || type === "AAAA")) {
      return Promise.resolve(found);
    }
    return Promise.reject(new Deno.errors.NotFound(`No ${type} of ${name}`));
  };
}

/** A port of this machine, and the number of connections to it. */
function trap(hostname: string, port = 0) {
  const listener = Deno.listen({ hostname, port });
  const calls = { count: 0 };
  const done = (async () => {
    for await (const conn of listener) {
      calls.count++;
      conn.close();
    }
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    calls,
    async [Symbol.asyncDispose]() {
      listener.close();
      await done;
    },
  };
}

/** Sends to a recipient by a server that relays; gives the DSN and the number of connections to the server. */
async function noticeFor(
  recipient: string,
  setup: {
    relay?: RelayingOptions;
    listen?: string;
    from?: string;
    literal?: Readonly<Record<string, string>>;
    port?: number;
  } = {},
): Promise<string> {
  const store = new MemoryStore();
  await using server = await startServer({
    hostname: "mx.near.test",
    listen: [{ host: setup.listen ?? "127.0.0.1", port: setup.port ?? 0 }],
    store,
    domains: ["b.test"],
    dns: testDns(resolver(setup.literal ?? {})),
    relay: { from: ["127.0.0.0/8", "::1"], schedule: "1h", ...setup.relay },
  });
  using client = await TestClient.connect(server);
  await client.envelope(recipient);
  assertStringIncludes(await client.data("Subject: x\r\n\r\nx"), "250");
  const notice = await within(store.next(), `a notice of ${recipient}`);
  return notice.text;
}

Deno.test("SmtpServer returns at once what leads to this machine, and calls no port of it", async (t) => {
  await using port = trap("127.0.0.1");
  for (const domain of Object.keys(HOSTS)) {
    await t.step(domain, async () => {
      const notice = await noticeFor(`you@${domain}`, {
        relay: { remotePort: port.port },
      });
      assertStringIncludes(notice, "5.4.6");
    });
  }
  assertEquals(port.calls.count, 0);
});

Deno.test("SmtpServer returns at once what is for an address literal of this machine", async () => {
  await using port = trap("127.0.0.1");
  const relay = { remotePort: port.port };
  for (const literal of ["[127.1.2.3]", "[IPv6:::1]", "[0.0.0.0]"]) {
    const notice = await noticeFor(`you@${literal}`, { relay });
    assertStringIncludes(notice, "5.4.6", literal);
  }
  // That of the address that the client came to is local (RFC 1123 5.2.17).
  const kept = await noticeFor("you@[127.0.0.1]", { relay });
  assertStringIncludes(kept, "for <you@[127.0.0.1]>");
  assert(!kept.includes("5.4.6"));
  assertEquals(port.calls.count, 0);
});

Deno.test("SmtpServer reads an address that is published in place of a host's name", async () => {
  await using port = trap("127.0.0.1");
  const relay = { remotePort: port.port };
  for (const exchange of ["127.0.0.1.", "[127.0.0.1].", "[IPv6:::1]"]) {
    const notice = await noticeFor("you@text.test", {
      relay,
      literal: { "text.test": exchange },
    });
    assertStringIncludes(notice, "5.4.6", exchange);
  }
  const notice = await noticeFor("you@text.test", {
    relay,
    literal: { "text.test": "two words.test." },
  });
  assertStringIncludes(notice, "5.1.2");
  assertEquals(port.calls.count, 0);
});

Deno.test("SmtpServer knows itself by its listeners, whatever names lead there", async () => {
  const rows = [
    ["127.0.0.1", "loopback.test"],
    ["0.0.0.0", "whole.test"],
    ["::", "six.test"],
    ["::", "mapped.test"],
  ] as const;
  for (const [listen, domain] of rows) {
    const free = Deno.listen({ hostname: listen, port: 0 });
    const { port } = free.addr as Deno.NetAddr;
    free.close();
    const notice = await noticeFor(`you@${domain}`, {
      listen,
      port,
      relay: { remotePort: port, allowLoopback: true },
    });
    assertStringIncludes(notice, "5.4.6", `${listen} ${domain}`);
    assertStringIncludes(notice, "this server is its best host");
  }
});

Deno.test("SmtpServer knows itself by the addresses that it is told, as behind a translating router", async () => {
  const notice = await noticeFor("you@[192.0.2.7]", {
    relay: { ownNames: ["192.0.2.7"] },
  });
  assertStringIncludes(notice, "5.4.6");
});

Deno.test("SmtpServer drops a notice that would come back, and follows a loopback that it was told to", async () => {
  const records: string[] = [];
  await using port = trap("127.0.0.1");
  const gone = Promise.withResolvers<void>();
  const called = Promise.withResolvers<void>();
  await using server = await startServer({
    hostname: "mx.near.test",
    domains: ["b.test"],
    dns: testDns(resolver({})),
    relay: {
      from: ["127.0.0.0/8"],
      remotePort: port.port,
      schedule: "1h",
    },
    log: ({ event, fields }) => {
      if (event !== "delivery") return;
      records.push(`${fields?.recipient} ${fields?.result}`);
      gone.resolve();
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["HELO x", "250"], ["MAIL FROM:<>", "250"]);
  await client.expect(["RCPT TO:<you@loopback.test>", "250"]);
  await client.data("Subject: x\r\n\r\nx");
  await within(gone.promise, "the end of the notice");
  assertEquals(records, ["you@loopback.test failed"]);
  assertEquals(port.calls.count, 0);
  await using other = await startServer({
    domains: ["b.test"],
    dns: testDns(resolver({})),
    relay: {
      from: ["127.0.0.0/8"],
      remotePort: port.port,
      allowLoopback: true,
      schedule: "1h",
    },
    log: ({ event, fields }) => {
      if (event === "delivery" && fields?.id) called.resolve();
    },
  });
  using second = await TestClient.connect(other);
  await second.envelope("you@loopback.test");
  await second.data("Subject: x\r\n\r\nx");
  await within(called.promise, "a try");
  assertEquals(port.calls.count, 1);
});
