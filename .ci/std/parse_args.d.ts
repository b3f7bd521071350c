// The types of parse_args.ts: @std/cli/parse-args for the options that the
// command line uses.

/** Which options there are and how their values are read. */
export interface ParseOptions<
  B extends string = string,
  S extends string = string,
  C extends string = string,
> {
  /** Keep what follows `--` apart, as `args["--"]`. */
  "--"?: boolean;
  /** Other names of an option. */
  alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Options without a value; `true` makes all of them so. */
  boolean?: boolean | B | readonly B[];
  /** Values of the options that are not given. */
  default?: Readonly<Record<string, unknown>>;
  /** Stop at the first argument that is no option. */
  stopEarly?: boolean;
  /** Options whose values stay text. */
  string?: S | readonly S[];
  /** Options that may be repeated. */
  collect?: C | readonly C[];
  /** Options that may be switched off with `--no-NAME`. */
  negatable?: string | readonly string[];
  /** Asked about each argument that no option is known for; `false` leaves it out. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What was given. */
export type Args<B extends string, S extends string, C extends string> =
  & { [K in Exclude<B, C>]: boolean }
  & { [K in Exclude<S, C>]?: string }
  & { [K in C & S]: string[] }
  & { [K in Exclude<C, S>]: unknown[] }
  & {
    /** The arguments that are no options. */
    _: (string | number)[];
    // deno-lint-ignore no-explicit-any
    [name: string]: any;
  };

export function parseArgs<
  const B extends string = never,
  const S extends string = never,
  const C extends string = never,
>(args: readonly string[], options?: ParseOptions<B, S, C>): Args<B, S, C>;
