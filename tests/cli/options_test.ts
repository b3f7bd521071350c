/** The table of options: each row once, in reach, and applied by a reload or not. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type CommandName, COMMON } from "../../lib/cli/option.ts";
import {
  COMMANDS,
  keyOf,
  optionsOf,
  WANT_RESTART,
} from "../../lib/cli/options.ts";
import { LIMITS } from "../../lib/session/limit_options.ts";
import { USER_LIMITS } from "../../lib/session/user_limit_options.ts";

const NAMES = Object.keys(COMMANDS) as CommandName[];

Deno.test("No command has an option twice", () => {
  for (const name of NAMES) {
    const options = [...Object.values(COMMANDS[name].sections), COMMON]
      .flatMap((section) => Object.keys(section));
    assertEquals(options, [...new Set(options)], name);
  }
});

Deno.test("Every option has a form that can be shown, and a unique name in a file", () => {
  for (const name of NAMES) {
    const keys: string[] = [];
    for (const [flag, option] of Object.entries(optionsOf(name))) {
      assertMatch(flag, /^[a-z]+(-[a-z]+)*$/);
      assert(option.help !== "" && !option.help.endsWith("."), flag);
      if (option.form !== "flag") {
        assert(option.word !== undefined || option.choices !== undefined, flag);
      }
      const key = keyOf(flag, option);
      if (key !== undefined) keys.push(key);
    }
    assertEquals(keys, [...new Set(keys)], name);
  }
});

Deno.test("Every limit that names an option has it, and a reload applies it", () => {
  const options = optionsOf("serve");
  const limits = [...Object.values(LIMITS), ...Object.values(USER_LIMITS)];
  for (const { flag } of limits) {
    if (flag === undefined) continue;
    assertEquals(options[flag]?.isReloaded, true, flag);
  }
  assertEquals(options["max-size"]?.default, "50M");
  assertEquals(options["bytes-per-minute"]?.default, "1G");
  assertEquals(options["user-bytes-per-day"]?.default, "0");
  assertEquals(options["timeout"]?.default, "300");
});

Deno.test("Options that a reload cannot change need a restart", () => {
  assertEquals([...WANT_RESTART].sort(), [
    ...["allow-loopback", "arc", "bare-newlines", "bounce-from", "chunking"],
    ...["complete", "dns", "expire", "handlers", "hostname", "listen", "log"],
    ...["log-level", "long-lines", "notify", "quiet", "quota", "relay"],
    ...["relay-from", "remote-port", "retry", "security", "smarthost"],
    ...["smarthost-mechanisms", "smarthost-user", "spool"],
    ...["srs", "srs-secret", "status", "store"],
    ...["store-owner", "threads", "tls-policy", "tls-reports", "trust-ad"],
  ]);
});
