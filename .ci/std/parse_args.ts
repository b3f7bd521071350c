// @std/cli/parse-args, from npm, with its types.

// deno-lint-ignore-file no-slow-types

// @ts-types="./parse_args.d.ts"
export * from "npm:deno-std@1.4.0/cli/parse_args.js";
