// @std/assert, from npm, with its types.

// deno-lint-ignore-file no-slow-types

// @ts-types="./assert.d.ts"
export * from "npm:deno-std@1.4.0/assert/mod.js";
