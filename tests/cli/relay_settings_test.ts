/** The settings of relaying: their options, and values that are refused. */

import { assertEquals, assertThrows } from "@std/assert";
import { parseNextHop, relaySettings } from "../../lib/cli/relay_settings.ts";
import { UsageError } from "../../lib/cli/output.ts";

type Settings = Readonly<Record<string, readonly string[]>>;

function relayOf(settings: Settings): Record<string, unknown> {
  const { relay } = relaySettings(new Map(Object.entries(settings)));
  const given = Object.entries(relay!).filter(([, value]) =>
    value !== undefined
  );
  return Object.fromEntries(given.map(([key, value]) => [
    key,
    key === "schedule" ? String(value) : value,
  ]));
}

const host = (name: string, rest: object = {}) => ({
  host: name,
  port: undefined,
  implicitTls: false,
  lmtp: false,
  ...rest,
});

Deno.test("relaySettings() makes options from the command line", () => {
  const none = { allow: "none" };
  const spooled = { ...none, spool: "./spool" };
  const rows: readonly (readonly [Settings, Record<string, unknown>])[] = [
    [{}, none],
    [{ relay: ["true"] }, { allow: "authenticated", spool: "./spool" }],
    [{ spool: ["/var/q"] }, { ...none, spool: "/var/q" }],
    [{ "long-lines": ["encode"] }, { ...none, longLines: "encode" }],
    [
      { "relay-from": ["10.0.0.0/8", "::1"] },
      { ...spooled, from: ["10.0.0.0/8", "::1"] },
    ],
    [
      { smarthost: ["mx.test:2525"] },
      {
        ...spooled,
        smarthosts: [host("mx.test", { port: 2525 })],
        allowInsecureAuth: false,
      },
    ],
    [
      { smarthost: ["a.test/starttls", "b.test"] },
      {
        ...spooled,
        smarthosts: [host("a.test"), host("b.test")],
        security: "required",
        allowInsecureAuth: false,
      },
    ],
    [
      { smarthost: ["[::1]:465/smtps"], "smarthost-user": ["ann:a:b"] },
      {
        ...spooled,
        smarthosts: [host("::1", { port: 465, implicitTls: true })],
        login: { username: "ann", password: "a:b" },
        security: "verified",
        allowInsecureAuth: false,
      },
    ],
    [
      {
        smarthost: ["a.test/starttls"],
        "smarthost-user": ["ann:b"],
        "smarthost-mechanisms": ["plain, LOGIN"],
        chunking: ["no"],
      },
      {
        ...spooled,
        chunking: false,
        smarthosts: [host("a.test")],
        login: {
          username: "ann",
          password: "b",
          mechanisms: ["PLAIN", "LOGIN"],
        },
        security: "verified",
        allowInsecureAuth: false,
      },
    ],
    [
      { smarthost: ["a.test/none"] },
      {
        ...spooled,
        smarthosts: [host("a.test")],
        security: "none",
        allowInsecureAuth: true,
      },
    ],
    [
      {
        retry: ["30s 5m*3 1h*12 4h"],
        expire: ["2d"],
        "bounce-from": ["Postmaster@near.test"],
        "tls-reports": ["tls@near.test"],
        "remote-port": ["2525"],
        "allow-loopback": ["true"],
      },
      {
        ...none,
        schedule: "30s 5m*3 1h*12 4h",
        expireAfterMs: 172_800_000,
        bounceFrom: "Postmaster@near.test",
        reports: { from: "tls@near.test" },
        remotePort: 2525,
        allowLoopback: true,
      },
    ],
  ];
  for (const [settings, want] of rows) {
    assertEquals(relayOf(settings), want, JSON.stringify(settings));
  }
});

Deno.test("relaySettings() names the option it cannot use, and no secret", () => {
  const rows: readonly (readonly [Settings, string])[] = [
    [{ "relay-from": ["10.0.0.1/8"] }, "--relay-from: "],
    [{ smarthost: ["a b"] }, "--smarthost: "],
    [{ smarthost: ["a.test", "b.test/none"] }, "--smarthost: want /none"],
    [{ "smarthost-user": ["ann:sesame"] }, "--smarthost-user: want --smart"],
    [
      { smarthost: ["a.test"], "smarthost-user": ["sesame"] },
      "--smarthost-user: ",
    ],
    [
      { smarthost: ["a.test"], "smarthost-mechanisms": ["PLAIN"] },
      "--smarthost-mechanisms: want --smarthost-user",
    ],
    [
      {
        smarthost: ["a.test"],
        "smarthost-user": ["ann:sesame"],
        "smarthost-mechanisms": ["PLAINN"],
      },
      "--smarthost-mechanisms: ",
    ],
    [{ dns: ["ns.test"] }, "--dns: "],
    [{ retry: ["soon"] }, "--retry: "],
    [{ expire: ["5 days"] }, "--expire: "],
    [{ "bounce-from": ["a@b@c"] }, "--bounce-from: "],
    [{ "tls-reports": ["m\u00fcller@near.test"] }, "--tls-reports: "],
    [{ "tls-reports": ["tls"] }, "--tls-reports: "],
    [{ "remote-port": ["0"] }, "--remote-port 0: "],
  ];
  for (const [settings, want] of rows) {
    const error = assertThrows(() => relayOf(settings), UsageError, want);
    assertEquals(error.message.includes("sesame"), false);
  }
});

Deno.test("parseNextHop() refuses a text that is not a server", () => {
  const rows = ["", ":25", "a:0", "a:65536", "a:25/tls", "a b:25", "[::1"];
  for (const text of rows) {
    assertThrows(() => parseNextHop(text), SyntaxError, `"${text}"`);
  }
});
