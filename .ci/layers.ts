/**
 * The rules of the house, as a plugin of `deno lint`: which room may import
 * which, the size of files and the circles of imports, what the pure room must
 * not name, how errors are worded, how secrets are compared, what writes to the
 * console, plain syntax, and the words of comments. It knows a file by its path
 * below the folder of deno.json.
 */

import {
  CEILING,
  circles,
  ENTRIES,
  FLOOR,
  importers,
  isSlice,
  readHouse,
  type SourceFile,
} from "./graph.ts";
import { wordHits } from "./prose.ts";

/** What every room may use. */
const GROUND: readonly string[] = [
  ...["log.ts", "options.ts", "spelling.ts"],
];

/**
 * Which room may import from which, beside itself and {@linkcode GROUND}. A room
 * is a folder below lib/; an entry with a slash is one file of a room, one that
 * begins with `type ` may be used for types only, `*` is every room but the
 * command line, and `entry` the entry points that users import.
 *
 * The order is that of the layers: a room imports from rooms above its line only.
 * Some rooms have their place here before they have a folder.
 */
export const ROOMS: Readonly<Record<string, readonly string[]>> = {
  "log.ts": [],
  "spelling.ts": [],
  "options.ts": [],
  "files": [],
  "logging": [],
  "protocol": [],
  "mime": ["protocol"],
  "sasl": ["protocol/domain.ts", "files/named_lists.ts"],
  "tls": ["files", "protocol/domain.ts", "protocol/ip.ts"],
  "net": ["protocol/ip.ts", "protocol/listener_kind.ts", "tls"],
  "dns": ["protocol/domain.ts", "protocol/ip.ts"],
  "trust": ["protocol", "sasl/digest.ts", "type dns"],
  "database": [],
  "message": ["protocol", "mime", "type trust"],
  "store": ["files", "protocol", "message", "database", "type trust"],
  "inbox": ["protocol", "mime", "message", "type store", "database"],
  "client": ["protocol", "mime", "sasl", "net", "tls"],
  "secure_transport": [
    ...["protocol", "net", "tls", "dns", "type client"],
  ],
  "spool": ["files", "protocol", "message", "database", "client/next_hop.ts"],
  "dsn": ["protocol", "mime", "message", "spool"],
  "queue": [
    ...["protocol", "message", "spool", "dsn"],
    ...["client/next_hop.ts", "type client"],
  ],
  "delivery": [
    ...["protocol", "sasl", "net", "tls", "dns", "message", "store"],
    ...["spool", "dsn", "queue", "client", "trust", "secure_transport"],
  ],
  "session": [
    ...["protocol", "sasl", "net", "tls", "dns", "message", "store"],
    ...["trust", "type queue", "type client", "type secure_transport"],
    ...["files/named_lists.ts", "files/reread_file.ts"],
  ],
  "threads": [
    ...["protocol", "sasl", "net", "tls", "message", "store", "session"],
    "trust/result.ts",
  ],
  "telemetry": [],
  "server": [
    ...["protocol", "sasl", "net", "tls", "dns", "message", "store"],
    ...["spool", "dsn", "queue", "client", "delivery", "session"],
    ...["threads", "trust", "telemetry"],
  ],
  // The door of the command line.
  "server/mod.ts": ["*"],
  "page": ["inbox", "telemetry", "type server"],
  "testing": ["*"],
  // The adapter for programs of another package: on the public face only.
  "smtp_server": ["entry", "sasl/digest.ts"],
  "mod.ts": ["*"],
  "cli": ["entry", "server/mod.ts"],
  "cli.ts": ["entry", "cli"],
  "examples": ["entry"],
};

/** What `protocol/` must not name: clock, chance, input, output, time to come. */
const IMPURE: ReadonlySet<string> = new Set([
  ...["Deno", "process", "globalThis", "self", "console", "fetch"],
  ...["setTimeout", "setInterval", "setImmediate", "queueMicrotask"],
  ...["clearTimeout", "clearInterval", "performance", "Date", "Temporal"],
  ...["crypto", "Promise", "Worker", "AbortSignal", "AbortController"],
]);

/** Where a rule holds; anything else below the folder of deno.json is free. */
const SCOPE = {
  /** What users import. */
  published: /^(lib\/|mod\.ts$|cli\.ts$)/,
  /** What must run without a package. */
  withoutPackages: /^(lib\/|mod\.ts$)/,
  /** What must not write to the console; log.ts holds the logger that may. */
  silent: /^(lib\/(?!log\.ts$)|mod\.ts$)/,
  /** The pure room. */
  pure: /^lib\/protocol\//,
  /** Where secrets are held against each other. */
  secrets: /^lib\/(sasl\/|session\/authentication)/,
  /** The one file that may do it by itself. */
  comparison: /^lib\/sasl\/digest\.ts$/,
  /** Where a default export is the interface of the platform or of a handler module. */
  defaultExport:
    /^(\.ci\/layers\.ts|\.ci\/std\/[^/]+\.d\.ts|(examples|tests)\/(.*[/_])?handlers\.ts)$/,
} as const;

const ROOT = new URL("../", import.meta.url).pathname;

/** The path below the folder of deno.json. */
function relativePath(filename: string): string {
  const path = filename.replaceAll("\\", "/");
  return path.startsWith(ROOT) ? path.slice(ROOT.length) : path;
}

/** The room of a path, or `undefined` where it is in none: `lib/dns/client.ts` is in `dns`. */
function roomOf(path: string): string | undefined {
  if (path === "mod.ts" || path === "cli.ts") return path;
  if (path.startsWith("examples/")) return "examples";
  return /^lib\/([^/]+)/.exec(path)?.[1];
}

/** Resolves `./x` and `../x` against the path of the importing file. */
function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

/** Why the file at `from` may not import `specifier`, or `undefined`. */
function importFault(
  from: string,
  specifier: string,
  options: { typeOnly: boolean },
): string | undefined {
  const room = roomOf(from);
  if (!/^\.{0,2}\//.test(specifier)) {
    return packageFault(from, specifier);
  }
  const to = resolve(from, specifier);
  const target = roomOf(to);
  if (room === undefined || room === target || to === "deno.json") return;
  const allowed = ENTRIES.has(from) && room !== "cli.ts"
    ? ["*"]
    : ROOMS[from.slice("lib/".length)] ?? ROOMS[room];
  if (allowed === undefined) {
    return `Room "${room}" has no line in the table of rooms: give it one`;
  }
  if (target === undefined) {
    return `"${from}" must not import "${to}": it is in none of the rooms`;
  }
  const ok = [...GROUND, ...allowed].some((entry) => {
    if (entry === "*") return !/^cli\b/.test(target);
    if (entry === "entry") return ENTRIES.has(to);
    if (!entry.startsWith("type ")) return covers(entry, to);
    return options.typeOnly && covers(entry.slice(5), to);
  });
  if (ok) return;
  const list = allowed.length === 0 ? "nothing" : allowed.join(", ");
  return `"${room}" must not import "${to}": it may import ${list}`;
}

/** Whether the path is the entry's file or in the entry's room. */
function covers(entry: string, path: string): boolean {
  return entry.includes("/") ? path === `lib/${entry}` : roomOf(path) === entry;
}

/** Why a specifier that is no path may not stand in the file, or `undefined`. */
function packageFault(from: string, specifier: string): string | undefined {
  if (SCOPE.pure.test(from)) {
    return `"${from}" must not import "${specifier}": protocol/ is pure`;
  }
  if (SCOPE.withoutPackages.test(from) && !specifier.startsWith("node:")) {
    return `"${from}" must not import "${specifier}": want built-ins only`;
  }
}

/** The pieces of text in a message between its expressions; `null` for an expression. */
function textPieces(node: Deno.lint.Node): (string | null)[] {
  if (node.type === "Literal") {
    return [typeof node.value === "string" ? node.value : null];
  }
  if (node.type === "TemplateLiteral") {
    return node.quasis.flatMap((part, index) => {
      const text = part.cooked;
      return index === 0 ? [text] : [null, text];
    }).filter((piece) => piece !== "");
  }
  if (node.type === "BinaryExpression" && node.operator === "+") {
    return [...textPieces(node.left), ...textPieces(node.right)];
  }
  return [null];
}

/** What is wrong with the wording of an error message, or `undefined`. */
function messageFault(node: Deno.lint.Node): string | undefined {
  const pieces = textPieces(node);
  const first = pieces.at(0);
  const last = pieces.at(-1);
  // A message about an option begins with the option's name.
  if (typeof first === "string" && !/^(\p{Lu}|--)/u.test(first)) {
    return "An error message starts with an upper-case letter";
  }
  if (typeof last === "string" && /[.\s]$/.test(last)) {
    return "An error message ends without a period or white space";
  }
}

/** The class that `new` makes: `Error` of `new Deno.errors.NotFound()` is `NotFound`. */
function isErrorClass(callee: Deno.lint.Node): boolean {
  if (callee.type === "Identifier") return /Error$/.test(callee.name);
  return callee.type === "MemberExpression" &&
    callee.object.type === "MemberExpression" &&
    callee.object.property.type === "Identifier" &&
    callee.object.property.name === "errors";
}

/** Whether `Date` is a type here, or makes a value of a given time: neither reads the clock. */
function isDateValue({ parent }: Deno.lint.Identifier): boolean {
  return parent.type === "TSTypeReference" ||
    parent.type === "NewExpression" && parent.arguments.length > 0;
}

/** Whether an identifier is a mere name of a member, and so names nothing global. */
function isMemberName(node: Deno.lint.Identifier): boolean {
  const { parent } = node;
  switch (parent.type) {
    case "MemberExpression":
      return parent.property === node && !parent.computed;
    case "Property":
      return parent.key === node && !parent.computed && !parent.shorthand;
    case "PropertyDefinition":
    case "MethodDefinition":
    case "TSPropertySignature":
    case "TSMethodSignature":
      return parent.key === node && !parent.computed;
    default:
      return false;
  }
}

/** A rule for the files that `scope` fits. */
function rule(
  scope: RegExp,
  create: (context: Deno.lint.RuleContext, path: string) => Visitor,
): Deno.lint.Rule {
  return {
    create(context) {
      const path = relativePath(context.filename);
      return scope.test(path) ? create(context, path) : {};
    },
  };
}

type Visitor = Deno.lint.LintVisitor;
type Named = { importKind?: string; exportKind?: string };

/** Imports go in the direction of the table of rooms; lib/ and mod.ts use no package. */
const imports: Deno.lint.Rule = rule(
  /^(lib\/|examples\/|mod\.ts|cli\.ts)/,
  (context, path) => {
    function check(node: Deno.lint.Node, source: Deno.lint.Node | null): void {
      if (
        source?.type !== "Literal" || typeof source.value !== "string"
      ) return;
      const { importKind, exportKind } = node as Named;
      const typeOnly = importKind === "type" || exportKind === "type";
      if (path === "cli.ts" && !source.value.startsWith(".")) return;
      const message = importFault(path, source.value, { typeOnly });
      if (message !== undefined) context.report({ node: source, message });
    }
    return {
      ImportDeclaration: (node) => check(node, node.source),
      ExportAllDeclaration: (node) => check(node, node.source),
      ExportNamedDeclaration: (node) => check(node, node.source),
      ImportExpression: (node) => check(node, node.source),
      // A worker's entry is named by import.meta.resolve().
      CallExpression(node) {
        const { callee } = node;
        if (
          callee.type === "MemberExpression" &&
          callee.object.type === "MetaProperty"
        ) check(node, node.arguments[0] ?? null);
      },
    };
  },
);

/** What the rules about many files have found, by the path of a file: read once. */
let faults: ReadonlyMap<string, readonly string[]> | undefined;

/** The faults of size and of circles of the whole house. */
function houseFaults(): ReadonlyMap<string, readonly string[]> {
  const house = readHouse();
  const found = new Map<string, string[]>();
  function note(path: string, message: string): void {
    found.set(path, [...found.get(path) ?? [], message]);
  }
  for (const circle of circles(house)) {
    const [first, ...others] = circle;
    const message = `Imports run in a circle with ${others.join(", ")}`;
    note(first!, `${message}: cut it, type imports included`);
  }
  const known = importers(house);
  for (const file of house.values()) {
    if (file.lines > CEILING) {
      const message = `The file has ${file.lines} lines`;
      note(file.path, `${message}: want one concept in ${CEILING} at most`);
    }
    if (isSlice(file, known)) noteSlice(file);
  }
  function noteSlice({ path, lines }: SourceFile): void {
    const one = [...known.get(path)!][0];
    const message = `The file has ${lines} lines and one importer, "${one}"`;
    note(
      path,
      `${message}: merge them, or say in its header why it stands alone (under ${FLOOR} lines)`,
    );
  }
  return found;
}

/** No circles of imports, no slices, no file of more than one concept. */
const chapters: Deno.lint.Rule = rule(
  /^(lib\/|mod\.ts|cli\.ts)/,
  (context, path) => ({
    Program(node) {
      faults ??= houseFaults();
      for (const message of faults.get(path) ?? []) {
        context.report({ node, message });
      }
    },
  }),
);

/** Comments in plain English. */
const prose: Deno.lint.Rule = rule(/^/, (context) => ({
  Program() {
    for (const comment of context.sourceCode.getAllComments()) {
      for (const { at, word, advice } of wordHits(comment.value)) {
        const start = comment.range[0] + 2 + at;
        const range: [number, number] = [start, start + word.length];
        context.report({ range, message: `"${word}": ${advice}` });
      }
    }
  },
}));

/** protocol/ names no clock, no chance, no input or output, and waits for nothing. */
const purity: Deno.lint.Rule = rule(SCOPE.pure, (context) => {
  function report(node: Deno.lint.Node, what: string): void {
    context.report({ node, message: `protocol/ is pure: no ${what}` });
  }
  function checkAsync(node: Deno.lint.Node & { async: boolean }): void {
    if (node.async) report(node, "async function");
  }
  return {
    Identifier(node) {
      const isPure = !IMPURE.has(node.name) || isMemberName(node) ||
        (node.name === "Date" && isDateValue(node));
      if (!isPure) report(node, node.name);
    },
    MemberExpression(node) {
      if (context.sourceCode.getText(node) === "Math.random") {
        report(node, "Math.random");
      }
    },
    AwaitExpression: (node) => report(node, "await"),
    ForOfStatement(node) {
      if (node.await) report(node, "for await");
    },
    FunctionDeclaration: checkAsync,
    FunctionExpression: checkAsync,
    ArrowFunctionExpression: checkAsync,
  };
});

/** Error messages start upper-case and end without a period. */
const errorMessage: Deno.lint.Rule = rule(SCOPE.published, (context) => {
  function check(argument: Deno.lint.Node | undefined): void {
    if (argument === undefined) return;
    const message = messageFault(argument);
    if (message !== undefined) context.report({ node: argument, message });
  }
  return {
    NewExpression(node) {
      if (isErrorClass(node.callee)) check(node.arguments[0]);
    },
    ClassDeclaration(node) {
      const parent = node.superClass;
      if (parent?.type !== "Identifier" || !/Error$/.test(parent.name)) return;
      for (const member of node.body.body) {
        if (member.type !== "MethodDefinition") continue;
        for (const statement of member.value.body?.body ?? []) {
          const call = statement.type === "ExpressionStatement" &&
            statement.expression;
          if (
            call && call.type === "CallExpression" &&
            call.callee.type === "Super"
          ) check(call.arguments[0]);
        }
      }
    },
  };
});

/** Nothing but the command line, examples and tests writes to the console. */
const silence: Deno.lint.Rule = rule(SCOPE.silent, (context) => ({
  MemberExpression(node) {
    if (node.object.type === "Identifier" && node.object.name === "console") {
      const message = "The library is silent: log through its Logger";
      context.report({ node, message });
    }
  },
}));

/** Words that a name of something secret has. */
const SECRET_WORDS: ReadonlySet<string> = new Set([
  ...["secret", "password", "passphrase", "token", "credential", "credentials"],
  ...["proof", "signature", "digest", "hash", "mac", "hmac", "md5", "sha256"],
]);
/** Words that make a key of a SCRAM verifier of `key` behind them. */
const KEY_WORDS: ReadonlySet<string> = new Set([
  ...["stored", "server", "client", "private"],
]);
/** Methods that tell by their time where two texts, or two rows of bytes, differ. */
const COMPARING: ReadonlySet<string> = new Set([
  ...["includes", "indexOf", "lastIndexOf", "startsWith", "endsWith"],
  ...["localeCompare", "equals", "compare", "match", "search", "is"],
]);
/** Methods whose result is of the same secrecy as what they are called on. */
const SAME = /^(to\w+|slice|subarray|trim\w*|normalize|at|concat|valueOf)$/;

/** Whether a name, as `givenPassword` or `#storedKey`, is one of something secret. */
function namesSecret(name: string): boolean {
  const words = name.replace(/([a-z\d])([A-Z])/g, "$1 $2").toLowerCase()
    .split(/[^a-z\d]+/);
  return words.some((word, at) =>
    SECRET_WORDS.has(word) || (KEY_WORDS.has(word) && words[at + 1] === "key")
  );
}

/** The name of a member that is not computed. */
function memberName(node: Deno.lint.MemberExpression): string | undefined {
  const { property } = node;
  if (property.type === "PrivateIdentifier") return property.name;
  return !node.computed && property.type === "Identifier"
    ? property.name
    : undefined;
}

/** Whether the value of an expression is, or has in it, what a name calls secret. */
function isSecret(node: Deno.lint.Node): boolean {
  switch (node.type) {
    case "Identifier":
      return namesSecret(node.name);
    case "MemberExpression": {
      // `secret.length` and the like are facts about it.
      const name = memberName(node);
      return name === undefined ? isSecret(node.object) : namesSecret(name);
    }
    case "CallExpression": {
      const { callee } = node;
      const object = callee.type === "MemberExpression" &&
          SAME.test(memberName(callee) ?? "")
        ? [callee.object]
        : [];
      return [...object, ...node.arguments].some(isSecret);
    }
    case "TemplateLiteral":
      return node.expressions.some(isSecret);
    case "BinaryExpression":
      return node.operator === "+" &&
        (isSecret(node.left) || isSecret(node.right));
    case "LogicalExpression":
      return isSecret(node.left) || isSecret(node.right);
    case "ConditionalExpression":
      return isSecret(node.consequent) || isSecret(node.alternate);
    case "ChainExpression":
    case "TSNonNullExpression":
    case "TSAsExpression":
      return isSecret(node.expression);
    case "AwaitExpression":
      return node.argument !== null && isSecret(node.argument);
    default:
      return false;
  }
}

/** Whether a value stands in the code, or is the kind of one: nothing is found out by its time. */
function isOpen(node: Deno.lint.Node): boolean {
  return node.type === "Literal" ||
    (node.type === "Identifier" && node.name === "undefined") ||
    (node.type === "UnaryExpression" && node.operator === "typeof") ||
    (node.type === "TemplateLiteral" && node.expressions.length === 0);
}

/** Secrets are held against each other by `equalSecrets` and nothing else. */
const constantTime: Deno.lint.Rule = rule(/^lib\//, (context, path) => {
  const isComparison = SCOPE.comparison.test(path);
  const isScope = SCOPE.secrets.test(path);
  function report(node: Deno.lint.Node): void {
    const message =
      "The time of this tells secrets: use equalSecrets of sasl/digest.ts";
    context.report({ node, message });
  }
  /** In the file of the comparison its operands have names that tell nothing. */
  function check(
    node: Deno.lint.Node,
    left: Deno.lint.Node,
    right: Deno.lint.Node,
  ): void {
    if (!isScope || isOpen(left) || isOpen(right)) return;
    if (isComparison || isSecret(left) || isSecret(right)) report(node);
  }
  return {
    ImportSpecifier(node) {
      const { imported } = node;
      const name = imported.type === "Identifier"
        ? imported.name
        : imported.value;
      if (name === "timingSafeEqual" && !isComparison) report(node);
    },
    BinaryExpression(node) {
      if (/^[!=]==?$/.test(node.operator)) check(node, node.left, node.right);
    },
    CallExpression(node) {
      const { callee } = node;
      if (callee.type !== "MemberExpression") return;
      if (!COMPARING.has(memberName(callee) ?? "")) return;
      const [first, second] = node.arguments;
      if (first !== undefined) check(node, callee.object, first);
      if (second !== undefined && first !== undefined) {
        check(node, first, second);
      }
    },
    SwitchStatement(node) {
      for (const { test } of node.cases) {
        if (test !== null) check(test, node.discriminant, test);
      }
    },
  };
});

/** `#private` members, unions of literals, named exports. */
const plainSyntax: Deno.lint.Rule = rule(/^/, (context, path) => {
  function checkAccess(node: Deno.lint.Node): void {
    // A constructor has no form with #.
    const text = context.sourceCode.getText(node);
    if (!/^private\b(?!\s+constructor\b)/.test(text)) return;
    context.report({ node, message: "Use a #name in place of private" });
  }
  function checkDefault(node: Deno.lint.Node): void {
    if (SCOPE.defaultExport.test(path)) return;
    const message = "Only a handler module has a default export";
    context.report({ node, message });
  }
  return {
    PropertyDefinition: checkAccess,
    MethodDefinition: checkAccess,
    TSParameterProperty: checkAccess,
    TSEnumDeclaration(node) {
      const message = "Use a union of literals in place of enum";
      context.report({ node, message });
    },
    ExportDefaultDeclaration: checkDefault,
    ExportSpecifier(node) {
      const { exported } = node;
      if (exported.type === "Identifier" && exported.name === "default") {
        checkDefault(node);
      }
    },
  };
});

/** The plugin; its rules are named `house/imports` and so on. */
const plugin: Deno.lint.Plugin = {
  name: "house",
  rules: {
    "imports": imports,
    "chapters": chapters,
    "prose": prose,
    "purity": purity,
    "error-message": errorMessage,
    "silence": silence,
    "plain-syntax": plainSyntax,
    "constant-time": constantTime,
  },
};

export default plugin;
