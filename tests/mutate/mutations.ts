/**
 * Ways to break the code, each with the tests that must notice it. A row is one
 * place: `find` stands in the file once, and `put` takes its place.
 *
 * A new promise gets a row here. A change of the code in such a place must change
 * the row too: `mutations_test.ts` fails until it fits.
 */

/** One way to break the code. */
export interface Mutation {
  /** What is broken, in a few words. */
  readonly name: string;
  /** The file, below the folder of deno.json. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  /** What takes its place. */
  readonly put: string;
  /** Test files, below the folder of deno.json, of which one must fail. */
  readonly tests: readonly string[];
}

/**
 * The source with the mutation in it.
 *
 * @throws {Error} If the place is not there, or there more than once
 */
export function applyTo(source: string, mutation: Mutation): string {
  const { name, file, find, put } = mutation;
  const count = source.split(find).length - 1;
  if (count === 1) return source.replace(find, () => put);
  throw new Error(
    `Cannot apply "${name}": found its text ${count} times in "${file}", want 1`,
  );
}

/** One file of `lib/` with the tests that watch it, and rows of name, `find`, `put`. */
function of(
  file: string,
  tests: string | readonly string[],
  rows: readonly (readonly [name: string, find: string, put: string])[],
): Mutation[] {
  const files = typeof tests === "string" ? [tests] : tests;
  return rows.map(([name, find, put]) => ({
    name,
    file: `lib/${file}`,
    find,
    put,
    tests: files.map((test) => `tests/${test}_test.ts`),
  }));
}

const STORES: readonly Mutation[] = [
  ...of("files/durable.ts", "store/durability", [
    [
      "new files are not synced",
      "if (options.sync) await file.syncData();",
      "",
    ],
    [
      "the parent of a made folder is not synced",
      "await syncNames(parent, { isMade });",
      "void isMade;",
    ],
    [
      "files may be read by all",
      "export const FILE_MODE = 0o600;",
      "export const FILE_MODE = 0o644;",
    ],
    [
      "folders may be read by all",
      "export const FOLDER_MODE = 0o700;",
      "export const FOLDER_MODE = 0o755;",
    ],
  ]),
  ...of("files/durable.ts", "store/durability", [
    [
      "a sync of a folder that has begun serves those that come later",
      "under.next ??= under.current.then(\n    () => startSync(path),\n    () => startSync(path),\n  );\n  return under.next;",
      "return under.current;",
    ],
  ]),
  ...of("store/maildir_store.ts", "store/durability", [
    [
      "Maildir's new/ is not synced",
      'if (this.#sync) await syncFolder(join(this.#folder, mailbox, "new"));',
      "",
    ],
    [
      "a Maildir's own names are not synced",
      'syncNames(root, { isMade: made.some((part) => part !== "") }),',
      "",
    ],
  ]),
  ...of("store/maildir_store.ts", "attacks/planted_files", [
    [
      "a Maildir that was looked at once is trusted for good",
      ' || !await isStill(join(root, "tmp"), known.tmp)',
      "",
    ],
    [
      "where mail is renamed to is not looked at",
      "if (!isSame) await",
      "if (false) await",
    ],
    [
      "a Maildir of another user is used",
      "if (isMade || info === undefined) continue;",
      "if (isMade || info !== undefined) continue;",
    ],
  ]),
  ...of("store/maildir_store.ts", "store/maildir_store", [
    [
      "a Maildir keeps the copies of a message that is refused",
      "await Promise.all([...written.values()].map(withdraw));",
      "",
    ],
  ]),
  ...of("store/file_store.ts", "store/durability", [
    [
      "FileStore's folder is not synced",
      "if (!this.#sync) return;",
      "return;",
    ],
    [
      "FileStore's folder is not synced where a message takes another's place",
      "await renameOrRemove(temporary, path);\n      await syncFolder(dirname(path));",
      "await renameOrRemove(temporary, path);",
    ],
    [
      "FileStore keeps a message that it has refused",
      "await Deno.remove(path).catch(() => {});",
      "",
    ],
    [
      "FileStore does not bring the older message back",
      "await Deno.rename(older, path).catch(() => {});",
      "",
    ],
  ]),
  ...of("store/append_file.ts", "store/durability", [
    [
      "the folder of an mbox is not synced",
      "await syncNames(dirname(path), { isMade: options.made });",
      "",
    ],
    [
      "what is appended is not synced",
      "if (options.sync && changed) await file.syncData();",
      "",
    ],
    [
      "a refused append stays",
      "await shorten(file, start);\n      if (made)",
      "if (made)",
    ],
  ]),
  ...of("store/append_file.ts", "attacks/planted_files", [
    [
      "an mbox of another user is appended to",
      "await requireTrusted(path, info, { folder: dirname(path), owners });",
      "void owners;",
    ],
  ]),
  ...of("store/append_file.ts", "store/mbox_store", [
    [
      "a renamed mbox is appended to under its old name",
      "if (await isSameFile(file, path)) return { file, made };",
      "return { file, made };",
    ],
    [
      "one failed append spoils the others of its group",
      "await shorten(file, end);",
      "",
    ],
    [
      "an mbox is not brought to a blank line first",
      "newline.repeat(missing)",
      "newline.repeat(0 * missing)",
    ],
  ]),
  ...of("files/trust.ts", "attacks/planted_files", [
    [
      "a file with a second name is written to",
      "if (info.isFile && (info.nlink ?? 1) > 1) {",
      "if (info.isFile && (info.nlink ?? 1) > 2) {",
    ],
    [
      "a folder that the group may write to is trusted",
      "const WRITABLE_BY_OTHERS = 0o022;",
      "const WRITABLE_BY_OTHERS = 0o002;",
    ],
    [
      "symbolic links are followed",
      "info = await Deno.lstat(path);",
      "info = await Deno.stat(path);",
    ],
  ]),
  ...of("store/content.ts", "store/mbox_store", [
    [
      "fields that only a reader may write stay in an mbox",
      "...(mbox ? MBOX_FIELDS : [])",
      "",
    ],
    [
      "a line end in the sender forges a separator",
      '.replace(/[\\s\\p{Cc}]/gu, "_")',
      "",
    ],
  ]),
  ...of("store/content.ts", ["store/maildir_store", "store/file_store"], [
    [
      "a Return-Path of the client stays",
      "...(returnPath ? RETURN_PATH : []), ",
      "",
    ],
  ]),
  ...of("store/content.ts", "store/line_encoding", [
    [
      "a quoted separator is not quoted again",
      "while (bytes[at] === GREATER) at++;",
      "",
    ],
    [
      "a separator cut in two is not quoted",
      "this.#held = matched;\n        break;",
      "break;",
    ],
  ]),
  ...of("store/mailbox_name.ts", "store/mailbox_name", [
    [
      "an @ in a local part passes for the separator",
      '.replaceAll("@", "%40")',
      "",
    ],
    [
      "a mailbox may be hidden or a flag",
      "if (/^[.-]/.test(name) || RESERVED.test(name)) {",
      "if (RESERVED.test(name)) {",
    ],
    [
      "a mailbox may be another's lock",
      "if (/\\.lock$/i.test(name)) {",
      "if (/\\.lock$/.test(name)) {",
    ],
  ]),
  ...of("store/lock.ts", "store/lock", [
    [
      "a lock of another machine is broken",
      "if (pid === undefined || host !== hostName()) return false;",
      "if (pid === undefined) return false;",
    ],
    [
      "a young lock is broken",
      "if (mtime === null || Date.now() - mtime.getTime() < staleMs) return false;",
      "if (mtime === null) return false;",
    ],
  ]),
  ...of("store/maildir_quota.ts", "store/maildir_quota", [
    [
      "copies on their way are not counted",
      "      this.#promise(root, more);\n",
      "",
    ],
    [
      "maildirsize is written through a link",
      "await requireTrusted(path, info, { folder, owners });",
      "void [folder, owners];",
    ],
    [
      "a mailbox stays full after its owner has made room",
      "if (!known.mayBeWrong) return false;",
      "return false;",
    ],
    [
      "a copy that was taken back stays counted",
      'else if (state === "counted" && !kept) {',
      "else if (false) {",
    ],
  ]),
  ...of("delivery/lmtp_store.ts", "delivery/lmtp_store", [
    [
      "content is sent again after a lost connection",
      'return broken && stage !== "body" && stage !== "dataEnd";',
      "return broken;",
    ],
    [
      "mail bounces for a server with wrong settings",
      "(fromPeer ? !OF_SESSION.has(reply.code) : !reply.isTemporary)",
      "(fromPeer || !reply.isTemporary)",
    ],
    [
      "recipients get a message again that its client repeats",
      "await known.add(content, delivered);",
      "void delivered;",
    ],
    [
      "the same message later is taken for a repetition",
      "if (failures.size === 0 && !isUnheard) return repeat?.forget();",
      "if (failures.size === 0 && !isUnheard) return;",
    ],
  ]),
  ...of("session/keeping.ts", "delivery/lmtp_store", [
    [
      "a refusal of one recipient bounces the message of all",
      "refused.length < recipients.length ? undefined : found[0]",
      "found[0]",
    ],
  ]),
  ...of("store/per_recipient.ts", "store/maildir_store", [
    [
      "two names of one mailbox get two copies",
      "plan.set(name, copy = new MailboxCopy(name));",
      "plan.set(`${name} ${plan.size}`, copy = new MailboxCopy(name));",
    ],
  ]),
];

const SPOOL: readonly Mutation[] = [
  ...of("spool/files.ts", "spool/durability", [
    [
      "the spool's sync does nothing",
      "sync: () => file.syncData(),",
      "sync: () => Promise.resolve(),",
    ],
    [
      "the spool's folder sync does nothing",
      "await syncFolder(path);",
      "",
    ],
    [
      "the spool's folders are not durable",
      "await makeFolderAgain(resolve(path), { sync: true });",
      "await makeFolderAgain(resolve(path), { sync: false });",
    ],
    [
      "spool files may be read by all",
      "await Deno.open(path, { write: true, createNew: true, mode: FILE_MODE }),",
      "await Deno.open(path, { write: true, createNew: true, mode: 0o644 }),",
    ],
    [
      "the journal may be read by all",
      "await Deno.open(path, { append: true, create: true, mode: FILE_MODE }),",
      "await Deno.open(path, { append: true, create: true, mode: 0o644 }),",
    ],
  ]),
  ...of("spool/journal.ts", ["spool/durability", "spool/file_spool_crash"], [
    [
      "the folder is not synced after the journal's rename",
      "this.#file = await files.append(path);\n    await files.syncFolder(folder);",
      "this.#file = await files.append(path);",
    ],
    [
      "a rewritten journal is not synced before its rename",
      "await file.sync();\n      file.close();",
      "file.close();",
    ],
    [
      "a line is durable before it is synced",
      "if (group.some(isUrgent)) await this.#file.sync();",
      "",
    ],
  ]),
  ...of("spool/journal.ts", "spool/file_spool", [
    [
      "a line is written behind a torn one",
      "if (this.#troubled) await this.#recover();",
      "",
    ],
    [
      "a refused line is not written again",
      "this.#pending = [...left, ...this.#pending];",
      "",
    ],
  ]),
  ...of("spool/index.ts", [
    "spool/durability",
    "spool/file_spool_crash",
  ], [
    [
      "a message is forgotten before the journal says so",
      "await this.#append(id, goneLine(id));",
      "this.#append(id, goneLine(id)).catch(() => {});",
    ],
    [
      "a step of progress is not waited for",
      'await this.#append(id, encodeJournalLine({ kind: "change", id, change }));',
      'this.#append(id, encodeJournalLine({ kind: "change", id, change })).catch(() => {});',
    ],
    [
      "the journal forgets what a loss of power brings back",
      "await files.syncFolder(paths.messages);\n      for",
      "for",
    ],
  ]),
  ...of("spool/file_spool.ts", "spool/file_spool", [
    [
      "two messages may have one name",
      "if (!isSpoolId(id) || this.entries.has(id) || this.#adding.has(id)) {",
      "if (!isSpoolId(id) || this.#adding.has(id)) {",
    ],
  ]),
  ...of("spool/index.ts", "spool/durability", [
    [
      "the record of a message that has left stays",
      "if (file !== undefined) await this.#removeFile(file);",
      "",
    ],
  ]),
  ...of("spool/file_spool.ts", "attacks/planted_files", [
    [
      "a planted journal is followed",
      'await files.requireOurs(file, "file", root);',
      "",
    ],
  ]),
  ...of("spool/record_reader.ts", "spool/file_spool", []),
  ...of("spool/record_reader.ts", "spool/file_spool", [
    [
      "a record of another message is sent",
      "if (head.envelope.id !== id) {",
      "if (false) {",
    ],
  ]),
  ...of("spool/record_reader.ts", "spool/file_spool", [
    [
      "a message that is cut short goes out as if it were whole",
      'throw new SpoolError(\n      `Cannot read message "${envelope.id}": ${left}',
      'void (\n      `Cannot read message "${envelope.id}": ${left}',
    ],
  ]),
  ...of("spool/record_writer.ts", "spool/file_spool", [
    [
      "content that is too short is kept",
      "if (used !== size) throw wrongSize(used, size);",
      "",
    ],
  ]),
];

const QUEUE: readonly Mutation[] = [
  ...of("queue/schedule.ts", "queue/schedule", [
    ["the first delay is left out", "failures - 1, last", "failures, last"],
    ["delays only grow", "1 - JITTER + 2 * JITTER", "1 + JITTER"],
    [
      "a schedule may be endless",
      "const MAX_STEPS = 1000;",
      "const MAX_STEPS = 1e9;",
    ],
  ]),
  ...of("dsn/policy.ts", "queue/queue", [
    [
      "a notice is answered with a notice",
      'if (entry.envelope.from === "") return;',
      "",
    ],
    [
      "NOTIFY=NEVER is not heeded",
      'notify === undefined ? what !== "SUCCESS" : notify.includes(what)',
      'notify === undefined ? what !== "SUCCESS" : true',
    ],
    [
      "success is told without being asked for",
      'notify === undefined ? what !== "SUCCESS" : notify.includes(what)',
      "notify === undefined || notify.includes(what)",
    ],
  ]),
  ...of("delivery/outcome.ts", "delivery/policies", [
    [
      "a message that may have arrived is sent again",
      'if (failure.broken && !failure.fromPeer) return "defer";',
      "",
    ],
    [
      "a smarthost's greeting returns all mail",
      'return hard && isFinal && options.smarthost !== true ? "bounce" : "defer";',
      'return hard && isFinal ? "bounce" : "defer";',
    ],
    [
      "any refusing greeting returns mail",
      'stage === "hello" || failure.reply.code === 521;',
      "true;",
    ],
    [
      "a greeting is the last word of all hosts",
      'if (options.moreHosts) return "next";\n',
      "",
    ],
    [
      "a wish for TLS returns mail",
      "new Set([523, 524, 530, 538])",
      "new Set([523, 524, 538])",
    ],
    [
      "552 to RCPT is for good",
      'return stage === "rcpt" && code === 552 &&',
      "return false &&",
    ],
    [
      "a refusal of the content is tried again",
      'return failure.fromPeer && !isSoft(failure) ? "bounce" : soft;',
      "return soft;",
    ],
    [
      "a session that ended is a word about the message",
      "return broken || fromPeer;",
      "return broken;",
    ],
    [
      "a broken session returns mail",
      "const hard = !failure.broken && !isSoft(failure);",
      "const hard = !isSoft(failure);",
    ],
  ]),
  ...of("client/body_conversion.ts", "client/body_conversion", [
    [
      "a dot at the start of an encoded line stays",
      "(byte !== DOT && byte !== CAPITAL_F)",
      "byte !== CAPITAL_F",
    ],
    [
      "a blank at the end of a line is lost on the way",
      "held !== CR && !ends",
      "held !== CR",
    ],
    [
      "encoded lines have no end",
      "if (this.#column + width > LINE_WIDTH - 1) {",
      "if (false) {",
    ],
  ]),
  ...of("delivery/outcome.ts", "delivery/policies", [
    [
      "552 to RCPT with another reason asks for a second transaction",
      'return reply.enhanced === undefined || reply.enhanced === "4.5.3";',
      "return true;",
    ],
    [
      "a refused recipient is a failure of the host",
      "return failure.broken;\n    default:",
      "return true;\n    default:",
    ],
  ]),
  ...of("client/opening.ts", "delivery/policies", [
    [
      "required TLS goes without",
      'return security === "opportunistic" ? "skip" : "refuse";',
      'return "skip";',
    ],
    [
      "verified takes any certificate",
      'security !== "verified" || !facts.error',
      "true",
    ],
  ]),
  ...of("delivery/host_memory.ts", "delivery/policies", [
    [
      "broken TLS overrides what is required",
      'if (security !== "opportunistic") return security;',
      "",
    ],
  ]),
];

const SASL: readonly Mutation[] = [
  ...of("sasl/digest.ts", "house/layers", [
    [
      "secrets are compared in a time that tells",
      "return timingSafeEqual(comparable(left), comparable(right));",
      "return String(left) === String(right);",
    ],
  ]),
  ...of("sasl/digest.ts", "sasl/digest", [
    [
      "all secrets are the same",
      "return timingSafeEqual(comparable(left), comparable(right));",
      "return comparable(left).length === comparable(right).length;",
    ],
  ]),
  ...of("sasl/credentials.ts", "sasl/unknown_users", [
    [
      "an unknown user logs in by CRAM-MD5 with an empty secret",
      'return Promise.resolve(same && known !== "");',
      "return Promise.resolve(same);",
    ],
    [
      "an unknown user logs in with an empty password",
      'return same && known !== undefined && known !== "" && given !== undefined;',
      "return same;",
    ],
  ]),
  ...of("sasl/credentials.ts", "sasl/unknown_users", [
    [
      "a plain secret costs no rounds",
      'await pbkdf2(given ?? "", { salt: DUMMY_SALT, iterations });',
      "void iterations;",
    ],
  ]),
  ...of("sasl/scram.ts", ["sasl/malformed", "sasl/server_exchange"], [
    [
      "SCRAM takes the binding of another connection",
      "if (!this.#bindsChannel(final, first.header)) {",
      "if (false) {",
    ],
    [
      "SCRAM does not notice a list of mechanisms that was cut",
      'return header.flag === "y" && channelBinding !== undefined',
      "return false",
    ],
    [
      "SCRAM succeeds without a proof",
      "if (!proven || !matches) return false;",
      "if (!matches) return false;",
    ],
    [
      "SCRAM succeeds against the program's judgement",
      "!ok || this.#proven === undefined ||",
      "this.#proven === undefined ||",
    ],
  ]),
  ...of("sasl/scram.ts", "sasl/scram", [
    [
      "SCRAM takes another's nonce",
      "if (final.nonce !== first.nonce + this.#nonce) {",
      "if (false) {",
    ],
  ]),
  ...of("sasl/scram.ts", "sasl/client_mechanism", [
    [
      "the client takes any signature",
      "signature === undefined || !equalSecrets(signature, this.#signature)",
      "signature === undefined",
    ],
    [
      "the client takes a foreign nonce",
      "first === undefined || !first.nonce.startsWith(this.#nonce) ||",
      "first === undefined ||",
    ],
    [
      "the client proves itself with one round",
      "first.iterations < MIN_ITERATIONS || ",
      "",
    ],
    [
      "the client does without a signature",
      'if (this.#state !== "signed") {',
      'if (this.#state === "first") {',
    ],
  ]),
  ...of("sasl/gs2.ts", "sasl/scram", [
    [
      "a SCRAM name is unescaped twice",
      'text.replaceAll("=2C", ",").replaceAll("=3D", "=")',
      'text.replaceAll("=3D", "=").replaceAll("=2C", ",")',
    ],
  ]),
  ...of("protocol/ip.ts", "session/login_guard", [
    [
      "each address of a /64 has its own budget",
      'bytes.slice(0, 8).join(".")',
      'bytes.join(".")',
    ],
  ]),
  ...of("session/login_guard.ts", "session/login_guard", [
    [
      "guesses at one account never end",
      "const PAIR_BUDGET = 10;",
      "const PAIR_BUDGET = 1000;",
    ],
    [
      "guesses under way do not count",
      "ofPair + pending(pair) >= PAIR_BUDGET ||",
      "",
    ],
    [
      "an account may be guessed at from everywhere at once",
      "this.#turns.set(account, at + TURN_MS);",
      "",
    ],
    [
      "anybody locks a user out",
      "const turn = known || ofAccount < ACCOUNT_BUDGET",
      "const turn = ofAccount < ACCOUNT_BUDGET",
    ],
  ]),
];

const LIMITS: readonly Mutation[] = [
  ...of("sasl/accounts.ts", "session/login_guard", [
    [
      "another case of a name is a new budget",
      ".trim().toLowerCase()",
      ".trim()",
    ],
    [
      "blanks around a name are a new budget",
      ".trim().toLowerCase()",
      ".toLowerCase()",
    ],
  ]),
  ...of("protocol/replies.ts", "session/authentication", [
    [
      "a log-in in the clear is told as refused for good",
      "    538,\n",
      "    534,\n",
    ],
    [
      "an unknown mechanism is told as a wrong line",
      "mechanismUnknown: [504,",
      "mechanismUnknown: [501,",
    ],
    [
      "a log-in that was given up is told as wrong",
      'authCancelled: [501, "5.7.0",',
      'authCancelled: [535, "5.7.8",',
    ],
  ]),
  ...of("session/authentication.ts", "session/authentication", [
    [
      "a session may guess without end",
      "const SESSION_BUDGET = 3;",
      "const SESSION_BUDGET = 300;",
    ],
  ]),
  ...of("session/limits.ts", "session/limits", [
    ["one more than the limit is let in", "count >= limit", "count > limit"],
    ["0 is a limit", "return limit > 0 && count", "return count"],
    [
      "a refused connection is counted for ever",
      'if (typeof ticket === "string") this.#count.leave();',
      "",
    ],
    [
      "networks that are exempt are limited",
      "if (this.limits.exempt.some((one) => one.contains(address))) return EXEMPT;",
      "",
    ],
    [
      "the delay of refusals has no end",
      "return Math.min(delay, this.limits.tarpitMs);",
      "return delay;",
    ],
    [
      "messages are not counted",
      "} else table.add(entry, FIELD.messages, 1);",
      "}",
    ],
  ]),
];

const USERS: readonly Mutation[] = [
  ...of("session/user_limits.ts", "session/user_limits", [
    [
      "the attempts of a user are not counted",
      "table.set(at, MINUTE_FIELD.messages, tried + 1);",
      "",
    ],
    [
      "the messages of a user are not counted by the day",
      "table.add(at, table.hour(at), { messages: 1, recipients: 0, bytes });",
      "",
    ],
    [
      "a clock that is set back makes counts last",
      "Math.max(0, Math.floor((time - savedAt) / 1000))",
      "Math.floor((time - savedAt) / 1000)",
    ],
    [
      "a server that is often restarted forgets no count",
      "table.begin(secret, (passed % HOUR) + HOUR - (now % HOUR));",
      "table.begin(secret, 0);",
    ],
    [
      "half a file of counts is believed",
      'if (lines[end] !== `end ${end - 1}` || lines[end + 1] !== "") {',
      "if (false) {",
    ],
  ]),
  ...of("session/user_limits.ts", "server/user_limits", [
    [
      "the real size of a message does not count",
      "const isRefused = more > 0 &&",
      "const isRefused = false &&",
    ],
    [
      "a user over the limit is logged without end",
      "isFirst: (reported & bit) === 0 }",
      "isFirst: true }",
    ],
  ]),
  ...of("server/user_counts.ts", "server/user_limits", [
    [
      "a restart forgets the counts of users",
      "if (text !== undefined) this.#users.restore(text, this.#time());",
      "void text;",
    ],
  ]),
  ...of("session/user_table.ts", "session/user_limits", [
    [
      "a count of a day lasts for ever",
      "entries[start + MESSAGES + slot] = 0;",
      "",
    ],
    [
      "a user at the limit is forgotten as any other",
      "if (worth < smallest) [least, smallest] = [at, worth];",
      "[least, smallest] = [at, worth];",
    ],
  ]),
  ...of("session/session_limits.ts", "server/user_limits", [
    [
      "what is not accepted counts for the day",
      "this.#context.users?.giveBack(this.#reserved);",
      "",
    ],
  ]),
  ...of("server/server.ts", "server/user_limits", [
    [
      "the counts of users are lost at a stop",
      "await threads;\n    await this.#savedCounts?.stop();",
      "await threads;",
    ],
  ]),
  ...of("protocol/author_fields.ts", "protocol/author_fields", [
    [
      "the first of two From fields is believed",
      "from.length !== 1 ||",
      "from.length < 1 ||",
    ],
    [
      "the first of two authors is responsible",
      "responsible?.length === 1 ? responsible[0]",
      "responsible ? responsible[0]",
    ],
    [
      "an author's address may be decoded to another one",
      '|| address.localPart.includes("=?")',
      "",
    ],
    [
      "an address before one in brackets is a name",
      '[^\\s()<>[\\]:;@\\\\,"]+/uy',
      '[^\\s()<>[\\]:;\\\\,"]+/uy',
    ],
  ]),
  ...of("session/reception.ts", "server/sender_policy", [
    [
      "the header of a user is not looked at",
      "if (refusal !== undefined) return refusal;",
      "",
    ],
    [
      "a header that is too large is not looked at",
      "if (check !== undefined || this.#judgesHeaders) {",
      "if (check !== undefined) {",
    ],
  ]),
  ...of("session/sender_policy.ts", "server/sender_policy", [
    [
      "any reverse-path is the user's own",
      "const isOwn = address.isNull || this.#policy.isOwn(address, own);",
      "const isOwn = true as boolean | Promise<boolean>;",
    ],
  ]),
  ...of("sasl/accounts.ts", "server/sender_policy", [
    [
      "a disabled account logs in",
      "if (account.isDisabled) this.#shut(name, account);",
      "",
    ],
  ]),
];

const PROTOCOL: readonly Mutation[] = [
  ...of("protocol/replies.ts", "protocol/replies", [
    [
      "no such user is told as another trouble",
      'noSuchUser: [550, "5.1.1", "No such user"],',
      'noSuchUser: [550, "5.2.1", "No such user"],',
    ],
    [
      "a wrong password is told as another trouble",
      'authFailed: [535, "5.7.8",',
      'authFailed: [535, "5.7.0",',
    ],
  ]),
  ...of("protocol/data_decoder.ts", "protocol/data_decoder", [
    [
      "a bare LF is not noticed",
      'this.bareNewline ??= "LF";',
      "",
    ],
    [
      "a bare CR before the end of data becomes a line end",
      "if (normalizes) input[from] = SPACE;",
      "",
    ],
    [
      "a dot behind a bare LF ends the data",
      'result[used++] = DOT;\n          position = "bare-lf-dot";',
      'position = "dot";',
    ],
  ]),
  ...of("protocol/data_decoder.ts", "protocol/server/bdat", [
    [
      "a dot is taken out of a chunk",
      "if (input[at] === DOT && this.#stuffed) {\n            out = move",
      "if (input[at] === DOT) {\n            out = move",
    ],
  ]),
  ...of("protocol/data_encoder.ts", "protocol/data_encoder", [
    [
      "a dot at the start of a line goes out bare",
      "else if (byte === DOT && last === LF && this.#stuffs) out[to++] = DOT;",
      "",
    ],
    [
      "a stray CR goes out",
      "out[to++] = last = SPACE;",
      "out[to++] = CR;",
    ],
    [
      "a CR at the end becomes a line end",
      "? BLANK_CRLF",
      "? CRLF",
    ],
    [
      "a dot at the start of a chunk goes out bare",
      "if (this.#last === LF && this.#stuffs && chunk[at] === DOT) return at;",
      "",
    ],
  ]),
  ...of("protocol/line_buffer.ts", "protocol/line_buffer", [
    [
      "a bare CR stands in a command",
      'if (byte === CR) return "bare-newline";',
      "",
    ],
    [
      "a line without end is taken in for ever",
      'return this.#isEndless(0) ? "endless" : "more";',
      'return "more";',
    ],
    [
      "what follows a bare LF is a command",
      "const bare = !isWhole || this.#behindFeed > 0;",
      "const bare = !isWhole;",
    ],
    [
      "a line may be one byte too long",
      "this.#used + (to - start) > this.#limit",
      "this.#used + (to - start) > this.#limit + 1",
    ],
  ]),
  ...of("protocol/xtext.ts", "protocol/xtext", [
    [
      "a plus is not encoded",
      "const PLAIN = /^[!-*,-<>-~]*$/;",
      "const PLAIN = /^[!-<>-~]*$/;",
    ],
  ]),
  ...of("protocol/server/state.ts", "protocol/server/order", [
    [
      "MAIL comes before the greeting",
      "MAIL: row(sayHello, RUN,",
      "MAIL: row(RUN, RUN,",
    ],
    [
      "STARTTLS comes inside a transaction",
      "STARTTLS: row(RUN, RUN, outOfOrder, outOfOrder,",
      "STARTTLS: row(RUN, RUN, outOfOrder, RUN,",
    ],
    [
      "DATA comes without a recipient",
      "DATA: row(sayHello, noMail, noRecipients,",
      "DATA: row(sayHello, noMail, RUN,",
    ],
  ]),
  ...of("protocol/server/state.ts", [
    "protocol/server/protocol",
    "protocol/server/order",
  ], [
    [
      "a name from the clear is believed under TLS",
      "this.#helo = undefined;\n    this.#extended = false;\n    if (this.#phase",
      "if (this.#phase",
    ],
    [
      "TLS that is required is not",
      'if (startTls === "required" && !this.#tls && !BEFORE_TLS.has(verb)) {',
      "if (false) {",
    ],
    [
      "a log-in that is required is not",
      "!BEFORE_LOGIN.has(verb)",
      "false",
    ],
  ]),
  ...of("protocol/server/commands.ts", [
    "protocol/server/protocol",
    "protocol/server/order",
  ], [
    [
      "a session logs in twice",
      "if (authenticated) return this.#outbox.error(replies.outOfOrder);",
      "",
    ],
  ]),
  ...of("protocol/server/commands.ts", "protocol/server/budget", [
    [
      "names may be guessed without end",
      "++this.#refusedNames > most && most > 0",
      "false",
    ],
  ]),
  ...of("protocol/server/commands.ts", "protocol/server/budget", [
    [
      "one recipient more than the limit is taken",
      "if (state.said.length >= maxRecipients) {",
      "if (state.said.length > maxRecipients) {",
    ],
  ]),
  ...of("protocol/server/commands.ts", "attacks/starttls_injection", [
    [
      "commands in the clear are run under TLS",
      "input.forget();\n    this.#outbox.reply(replies.startTls);",
      "this.#outbox.reply(replies.startTls);",
    ],
  ]),
  ...of("protocol/server/content.ts", [
    "protocol/server/lmtp",
    "protocol/server/bdat",
  ], [
    [
      "LMTP says the same of all recipients",
      '"address" in one ? one.reply ?? reply : worst(one, reply),',
      "reply,",
    ],
    [
      "BINARYMIME is taken by DATA",
      'if (this.#state.envelope!.parameters.body === "BINARYMIME") {',
      "if (false) {",
    ],
  ]),
  ...of("protocol/server/content.ts", "attacks/endless_input", [
    [
      "refused content comes without end",
      "if (body.isEndless && !isOver) {",
      "if (false) {",
    ],
  ]),
  ...of("protocol/server/protocol.ts", [
    "protocol/server/protocol",
    "protocol/server/bdat",
  ], []),
  ...of("session/secret_lines.ts", "session/dialogue", [
    [
      "the argument of an unknown verb is in the dialogue",
      "return verb === line ? line : `${verb} ***`.trimStart();",
      "return line;",
    ],
  ]),
  ...of("session/dialogue.ts", "session/dialogue", [
    [
      "responses of AUTH are in the dialogue",
      'return this.#tell("client", "***");',
      'return this.#tell("client", text);',
    ],
    [
      "what follows a refused AUTH is in the dialogue",
      "this.#secrets.traced(text)",
      "text",
    ],
    [
      "the beginning of a line that cannot be read is in the dialogue",
      "this.#secrets.shownHead(text)",
      "text",
    ],
  ]),
  ...of("log.ts", ["session/dialogue", "server/log_story"], [
    [
      "a trace keeps to the level of the log",
      'return takesLevel(least, level) || event === "dialogue";',
      "return takesLevel(least, level);",
    ],
    [
      "the level of the log filters nothing",
      "    if (!isWanted(record, least)) return;\n    try {",
      "    try {",
    ],
  ]),
  ...of("session/log.ts", "cli/log_once", [
    [
      "a refusal by the limit of a user counts twice",
      'event: "warning",\n    message: `Limit of',
      'event: "refused",\n    message: `Limit of',
    ],
  ]),
  ...of("queue/log.ts", "server/log_story", [
    [
      "a message has another id in the log of the queue",
      "{ id: origin?.message ?? id, relay: id }",
      "{ id, relay: id }",
    ],
  ]),
  ...of("server/server.ts", "logging/log_end", [
    [
      "the last lines of the log are lost at a stop",
      "await flushLog(this.#settings.options.log);",
      "",
    ],
  ]),
  ...of("logging/log_lines.ts", "logging/log_end", [
    [
      "the last lines of the log are lost at Deno.exit()",
      'const ENDS = ["unload", ',
      "const ENDS = [",
    ],
    [
      "the last lines of the log are lost at an exception",
      'const ENDS = ["unload", "error", ',
      'const ENDS = ["unload", ',
    ],
  ]),
  ...of("logging/text.ts", "logging/log_lines", [
    [
      "the sentence of a record takes several lines",
      "text += ` msg=${printableJson(message)}`;",
      "text += ` msg=${JSON.stringify(message)}`;",
    ],
    [
      "a field of a record takes several lines",
      'return text === "" || /[\\s"=\\\\]/.test(text) || printable(text) !== text\n    ? printableJson(text)',
      'return text === "" || /[\\s"=\\\\]/.test(text) || printable(text) !== text\n    ? `"${text}"`',
    ],
    [
      "an error takes several lines",
      ": ` error=${printableJson(error)}`",
      ": ` error=${error}`",
    ],
  ]),
  ...of("logging/text.ts", "cli/log_story", [
    [
      "the addresses of a message are not side by side",
      '["id", "relay", "from", "recipient"] as const',
      '["id", "relay", "recipient"] as const',
    ],
    [
      "a client writes an address of its own into the log",
      'some((one) => /[\\s"\\\\<>,]/',
      'some((one) => /[\\s"\\\\]/',
    ],
  ]),
  ...of("logging/postfix.ts", "logging/log_lines", [
    [
      "a message in several parts ends several times",
      "if (parts > 1) {",
      "if (false) {",
    ],
    [
      "a message that is discarded is deferred",
      'return textOf(record, "result") !== "failed";',
      'return textOf(record, "result") === "stored";',
    ],
  ]),
  ...of("logging/postfix_words.ts", "interop/log_readers", [
    [
      "a peer has other addresses banned",
      '.replace(/\\[/g, "(")\n    .replace(/\\]/g, ")")',
      "",
    ],
    [
      "a peer adds mail to the count",
      '.replace(/=</g, "=(")',
      "",
    ],
  ]),
  ...of("protocol/server/protocol.ts", "protocol/server/line", [
    [
      "control characters stand in a command",
      "else if (CONTROL.test(argument)) {",
      "else if (false) {",
    ],
  ]),
  ...of("protocol/server/protocol.ts", "protocol/server/protocol", [
    [
      "half a line from the clear goes on under TLS",
      "this.#lines.reset();\n    this.#tlsBytes = 0;",
      "this.#tlsBytes = 0;",
    ],
  ]),
  ...of("protocol/parameters.ts", "protocol/parameters", [
    [
      "a parameter may be given twice",
      "if (merged === undefined) return doubleParameter(parameter.keyword);",
      "",
    ],
    [
      "parameters are taken that were not offered",
      'if (!isOffered && parameter.ifNotOffered === "refuse") {',
      "if (false) {",
    ],
    [
      "an ENVID brings a line end into the notice",
      "return envid && PRINTABLE.test(envid) ? envid : undefined;",
      "return envid;",
    ],
    [
      "an ORCPT brings a line end into the notice",
      "if (address === undefined || !PRINTABLE.test(address)) return undefined;",
      "if (address === undefined) return undefined;",
    ],
    [
      "a SIZE beyond all numbers is kept as it is",
      "return Math.min(Number(value), Number.MAX_SAFE_INTEGER);",
      "return Number(value);",
    ],
  ]),
  ...of("protocol/trace.ts", "protocol/trace", [
    [
      "the client's name adds a field",
      'const from = ["Received: from", clean(init.helo, 255), ...peerOf(init)];',
      'const from = ["Received: from", init.helo, ...peerOf(init)];',
    ],
    [
      "a log-in is not told in Received",
      '${init.authenticated ? "A" : ""}',
      "",
    ],
    [
      "dates in zones west of UTC are told as east",
      'const sign = offsetMinutes < 0 ? "-" : "+";',
      'const sign = "+";',
    ],
  ]),
  ...of("protocol/server/content.ts", "protocol/server/bdat", [
    [
      "BDAT goes around the policy of bare line ends",
      '(options.binary || this.#policy === "keep");',
      "true;",
    ],
    [
      "a chunk runs on into the next command",
      "const stop = Math.min(end, start + this.#chunkLeft);",
      "const stop = end;",
    ],
  ]),
  ...of("session/local_domains.ts", "session/local_domains", [
    [
      "every address literal is local",
      "bytes.join() === parseUnmapped(ip)?.join();",
      "true;",
    ],
    [
      "only one spelling of a domain is local",
      "return names.has(address.asciiDomain) ||",
      "return",
    ],
  ]),
  ...of("protocol/proxy_header.ts", "protocol/proxy_header", [
    [
      "a health check of the proxy is believed",
      'if (command === "LOCAL") {',
      "if (false) {",
    ],
    [
      "a PROXY port beyond 65535 is taken",
      " || port > 65535) return undefined;",
      ") return undefined;",
    ],
    [
      "a damaged PROXY header is taken",
      "else if (tlvs === undefined || !isIntact(block, start)) return undefined;",
      "else if (tlvs === undefined) return undefined;",
    ],
    [
      "a PROXY line has no end",
      "const MAX_LINE = 107;",
      "const MAX_LINE = 1007;",
    ],
  ]),
  ...of("protocol/domain.ts", "protocol/domain", [
    [
      "a dot at the end makes another domain",
      'domain.endsWith(".") ? domain.slice(0, -1) : domain',
      "domain",
    ],
    [
      "look-alikes are one domain",
      "return (isSpelling(name) && convert(name)) || lowerAscii(name);",
      "return convert(name) || lowerAscii(name);",
    ],
  ]),
];

const DEPLOYMENT: readonly Mutation[] = [
  ...of("net/unix_socket.ts", "server/unix_socket", [
    [
      "a unix socket has its mode after it answers",
      "    Deno.chmodSync(path, mode);",
      "    setTimeout(() => Deno.chmodSync(path, mode), 500);",
    ],
    [
      "the socket of a server that answers is removed",
      'throw new Deno.errors.AddrInUse("A server answers there");',
      "removeSame(path, before);",
    ],
    [
      "a file that is no socket is removed",
      "if (!before.isSocket) {",
      "if (false) {",
    ],
  ]),
  ...of("cli/status_socket.ts", "cli/status", [
    [
      "every user of the machine asks for the status",
      "{ path, mode: 0o600 }",
      "{ path, mode: 0o666 }",
    ],
  ]),
  ...of("cli/environment.ts", "cli/environment", [
    [
      "the error of a variable shows its value",
      "throw new UsageError(`${variable}: ${WANT_FLAG}`)",
      "throw new UsageError(`${variable} ${text}: ${WANT_FLAG}`)",
    ],
    [
      "a variable without effect is shown with its value",
      "`${name}: no setting",
      "`${name}=${variables.get(name)}: no setting",
    ],
  ]),
];

const RECIPIENTS: readonly Mutation[] = [
  ...of("session/recipient_tables.ts", "server/domain_recipients", [
    [
      "a domain's aliases come after the server's",
      "    if (found !== undefined) return found;\n    const { aliases } = this.#server;\n    return aliases && findAlias(aliases, address, facts);",
      "    const { aliases } = this.#server;\n    return (aliases && findAlias(aliases, address, facts)) ?? found;",
    ],
    [
      "the server's catch-all goes before a domain's",
      "    if (found !== undefined) return found;\n    const { aliases } = this.#server;\n    return aliases && findCatchAll(aliases, domain);",
      "    const { aliases } = this.#server;\n    return (aliases && findCatchAll(aliases, domain)) ?? found;",
    ],
    [
      "the server's mailboxes exist in every domain",
      "return (this.#domains.get(domain) ?? this.#server).local;",
      "return this.#server.local ?? this.#domains.get(domain)?.local;",
    ],
  ]),
  ...of("session/aliases.ts", "session/aliases", [
    [
      "an alias with an extension is not found by its whole name",
      "if (whole !== undefined) return whole;",
      "if (whole !== undefined && delimiter === undefined) return whole;",
    ],
  ]),
  ...of("session/recipient_policy.ts", "session/aliases", [
    [
      "an unknown user is accepted",
      "if (walk.targets.length === 0) return replies.noSuchUser;",
      "",
    ],
    [
      "a catch-all takes the mail of mailboxes",
      'return isKnown ? undefined : { key: keyOf("", domain), alias: catchAll };',
      'return { key: keyOf("", domain), alias: catchAll };',
    ],
    [
      "a catch-all takes what an alias leads to",
      'const isSaid = "domain" in target;',
      "const isSaid = true;",
    ],
    [
      "a loop is not noticed",
      "if (walk.path.includes(key) || walk.path.length >= MOST_DEPTH) {",
      "if (walk.path.length >= 99) {",
    ],
  ]),
  ...of("session/recipient_policy.ts", "session/recipient_checks", [
    [
      "everyone fills the log with a loop",
      "if (last !== undefined && now - last < RECORD_MS) return;",
      "void last;",
    ],
  ]),
  ...of("session/recipient_policy.ts", "server/domain_recipients", [
    [
      "every thread warns of a file that was read again",
      "if (observer !== undefined) {",
      "if (false) {",
    ],
  ]),
  ...of("session/recipient_policy.ts", "server/sender_policy", [
    [
      "a catch-all gives the right to send",
      "this.#follow(address, walk, { isSaid: false })",
      "this.#follow(address, walk, { isSaid: true })",
    ],
    [
      "an address whose mail is never delivered is its target's",
      "return refusal === undefined ? reached : [];",
      "void refusal;\n    return reached;",
    ],
  ]),
  ...of("session/sender_policy.ts", "server/sender_policy", [
    [
      "an account is another's extension",
      "return !recipients.isExtended(address) || !await this.#isAccount(address);",
      "return true;",
    ],
  ]),
  ...of("session/handler_calls.ts", [
    "session/recipient_checks",
    "server/domain_recipients",
  ], [
    [
      "an alias gets around the size of its target's domain",
      "if (decided && domains !== undefined && !this.#fits(decided, domains)) {",
      "if (false) {",
    ],
    [
      "a redirect gets around the size of its target's domain",
      "return verdict instanceof Redirect &&",
      "return false && verdict instanceof Redirect &&",
    ],
    [
      "guesses of mailboxes are not slowed down",
      "return this.#afterTarpit(this.#counted(this.#recipient(question)));",
      "return this.#counted(this.#recipient(question));",
    ],
  ]),
  ...of("session/handler_calls.ts", "server/user_limits", [
    [
      "a refused recipient counts for the day of its user",
      "if (!accepts(verdict)) this.#init.limits.recipientNotAccepted();",
      "",
    ],
  ]),
  ...of("session/handler_calls.ts", "server/domains", [
    [
      "the size of a domain does not hold at RCPT",
      "if (domains !== undefined && !this.#fits([address], domains)) {",
      "if (false) {",
    ],
  ]),
  ...of("session/domain_sizes.ts", "server/domains", [
    [
      "the size of a domain does not hold for the content",
      "const own = domains.maxSizeOf(address) || Infinity;",
      "const own = Infinity;",
    ],
  ]),
  ...of("server/stores.ts", "server/domains", [
    [
      "mail of every domain goes into the server's store",
      "return this.#table.storeOf(address) ??",
      "return this.#own ??",
    ],
    [
      "mail for no domain by name is lost where only domains have stores",
      "(isUnnamed ? this.#unnamed : this.#own)",
      "this.#own",
    ],
  ]),
  ...of("server/server.ts", "server/domain_recipients", [
    [
      "an older reload ends in force",
      "const changed = this.#changing.then(change);",
      "const changed = change();",
    ],
  ]),
  ...of("session/keeping.ts", "session/aliases", [
    [
      "a redirect is subject to relay.allow",
      "if (relaying === undefined) {",
      "if (relaying === undefined || !relaying.allows(session)) {",
    ],
  ]),
  ...of("queue/queue.ts", "server/dkim", [
    [
      "mail of others is never signed",
      "    if (message.isOwn) {",
      "    if (signer?.isActive === true) {",
    ],
  ]),
  ...of("delivery/local_mail.ts", "server/dkim", [
    [
      "what stays here is not signed",
      "withoutTop(job.content(), signed)",
      "withoutTop(job.content(), 0)",
    ],
  ]),
  ...of("delivery/service.ts", "server/dkim", [
    [
      "a network without relaying is no user",
      "return client.username !== undefined || this.#isFrom(client);",
      'return client.username !== undefined || client.remoteAddress !== "";',
    ],
  ]),
  ...of("delivery/signing.ts", "server/dkim", [
    [
      "converted content is signed again",
      "const rest = () => withoutTop(open(), own);",
      "const rest = open;",
    ],
  ]),
  ...of("trust/dkim_sign.ts", "trust/dkim_sign", [
    [
      "what readers see is signed once more than it occurs",
      "(SEALED.has(name) ? 1 : 0)",
      "(SEALED.has(name) ? 0 : 0)",
    ],
  ]),
  ...of("trust/dkim_sign.ts", "server/dkim", [
    [
      "the nearest key signs",
      ": this.#keys.filter((_, at) => lengths[at] === longest);",
      ": this.#keys.filter((_, at) => lengths[at]! > 0);",
    ],
  ]),
  ...of("protocol/server/content.ts", "session/redirect", [
    [
      "LMTP replies once for each target",
      "for (const one of said) {",
      "for (const one of said.flat()) {",
    ],
  ]),
  ...of("session/recipient_policy.ts", "attacks/relaying_by_aliases", [
    [
      "a catch-all hands routes on",
      "return hasRoute(address) &&",
      "return false && hasRoute(address) &&",
    ],
  ]),
  ...of("protocol/server/rewriting.ts", "session/redirect", [
    [
      "the ORCPT of a redirect is its target",
      "const parameters = withOriginal(candidate);",
      "const { parameters } = candidate;",
    ],
  ]),
  ...of("session/keeping.ts", "delivery/lmtp_store", [
    [
      "LMTP says 250 for a copy that no store has",
      "recipient.reply = replyOf(cause);",
      "void [recipient, cause];",
    ],
  ]),
  ...of("message/message.ts", "attacks/lost_copies", [
    [
      "LMTP says 250 where a store names other recipients",
      "if (isWhole) return error.failures;",
      "return error.failures;",
    ],
  ]),
  ...of("protocol/headers.ts", "session/message_changes", [
    [
      "the name of a field that is prepended has more fields in it",
      'if (typeof name !== "string" || !NAME.test(name)) {',
      "if (false) {",
    ],
    [
      "the value of a field that is prepended has more fields in it",
      "? encoder.encode(foldField(name, value))",
      "? encoder.encode(`${name}: ${value}\\r\\n`)",
    ],
  ]),
  ...of("queue/relay.ts", "queue/relay", [
    [
      "a message relayed from the null path keeps its sender",
      "if (from === null) return Address.NULL;",
      "if (from === null) return undefined;",
    ],
  ]),
  ...of("message/message.ts", "message/copies", [
    [
      "the queue's names of a copy are lost",
      "message.#queued = this.#queued ??= { relays: NO_RELAYS };",
      "",
    ],
  ]),
];

const TRUST: readonly Mutation[] = [
  ...of("dns/datagram.ts", "dns/underscore", [
    [
      "a question without permission for UDP ends the process",
      "if (!maySendDatagrams(options)) return await askByStream(question, options);",
      "",
    ],
  ]),
  ...of("dns/exchange.ts", "dns/secure", [
    [
      "AD is believed from any machine",
      "return this.#options.trustAd || isLoopback(address);",
      "return address.length > 0;",
    ],
    [
      "trustAd is without effect",
      "return this.#options.trustAd || isLoopback(address);",
      "return isLoopback(address);",
    ],
    [
      "AD of a server on the loopback is not believed",
      "return this.#options.trustAd || isLoopback(address);",
      "return this.#options.trustAd && isLoopback(address);",
    ],
    [
      "a server that is not believed gets secure questions, too",
      "const servers = believed.length > 0 ? believed : all;",
      "const servers = believed.length > all.length ? believed : all;",
    ],
    [
      "an answer without AD is secure",
      "secure: answer.edns && message.authentic && isBelieved,",
      "secure: answer.edns && isBelieved,",
    ],
  ]),
  ...of("dns/exchange.ts", "dns/edns", [
    [
      "an answer without EDNS may be secure",
      "secure: answer.edns && message.authentic && isBelieved,",
      "secure: message.authentic && isBelieved,",
    ],
  ]),
  ...of("dns/secure.ts", "dns/secure", [
    [
      "a failed question for an alias makes a host insecure",
      'if (alias.status === "failed") return { addresses: alias, bases: [] };',
      "",
    ],
    [
      "TLSA records are asked for below an insecure alias",
      "return { addresses, bases: isSecure ? [name] : [] };",
      "return { addresses, bases: isSecure || name ? [name] : [] };",
    ],
  ]),
  ...of("dns/validation.ts", "dns/validation", [
    [
      "domains without DNSSEC make a server one that does not validate",
      "if (authentic) return;",
      "void authentic;",
    ],
  ]),
  ...of("secure_transport/slots.ts", "secure_transport/sts_store", [
    [
      "a slot goes to one that has left the line",
      "if (this.#line.delete(resolve)) reject(signal.reason);",
      "reject(signal.reason);",
    ],
  ]),
  ...of("delivery/host_security.ts", "delivery/tls_policy", [
    [
      "a report on TLS lacks the sender's address",
      "localAddress: judge.localAddress,",
      "",
    ],
  ]),
  ...of("trust/spf.ts", "trust/spf", [
    [
      "an eleventh term may ask",
      "if (++this.#terms <= MOST_TERMS) return;",
      "if (++this.#terms <= 1000) return;",
    ],
    [
      "void answers do not count",
      'outcome.status === "none" && outcome.why !== "not-a-name"',
      "false",
    ],
  ]),
  ...of("session/verification.ts", "server/verify", [
    [
      "mail of a logged-in client is checked",
      'return kind === "smtp" && username === undefined &&',
      'return kind === "smtp" &&',
    ],
    [
      "a policy of reject does nothing",
      'dmarc.result === "fail" && dmarc.policy === "reject" &&',
      'dmarc.policy === "none" &&',
    ],
  ]),
  ...of("trust/message_check.ts", "server/verify", [
    [
      "a field that bears our name stays",
      "if (!fields.some(isForged)) return block;",
      "if (block.length > 0) return block;",
    ],
  ]),
  ...of("session/reception.ts", "server/verify", [
    [
      "a handler cannot overrule a policy",
      "if (verdict !== undefined) return expressed(verdict);",
      "if (!accepts(verdict)) return expressed(verdict);",
    ],
  ]),
  ...of("secure_transport/tlsa_match.ts", "secure_transport/tlsa_match", [
    [
      "names do not count for an authority",
      "return nameFailure(leaf, names) ?? dateFailure(anchors, certificates, now);",
      "return dateFailure(anchors, certificates, now);",
    ],
    [
      "dates do not count for an authority",
      "nameFailure(leaf, names) ?? dateFailure(anchors, certificates, now)",
      "nameFailure(leaf, names)",
    ],
  ]),
  ...of("secure_transport/tls_decision.ts", "secure_transport/tls_decision", [
    [
      "DANE that is not known is no DANE",
      'if (dane.status === "failed") {',
      'if (dane.status === "failed" && host === "") {',
    ],
    ["none is raised", 'if (configured === "none") return plain;', ""],
    [
      "a policy that is tested is enforced",
      'if (mode === "testing") return',
      'if (mode === "testing" && host === "") return',
    ],
  ]),
  ...of("delivery/host_security.ts", "delivery/tls_policy", [
    [
      "TLSA records are asked for where the hosts are not secure",
      "if (!dane || !this.#isSecureList ||",
      "if (!dane ||",
    ],
    [
      "TLSA records that are not secure count",
      'outcome.status === "found" && outcome.secure === true',
      'outcome.status === "found"',
    ],
  ]),
  ...of("delivery/session_settings.ts", "delivery/tls_policy", [
    ["sessions are shared whatever the policy", "...[use.key, use.name],", ""],
  ]),
  ...of("secure_transport/tlsa_match.ts", "secure_transport/tlsa_match", [
    [
      "a weaker digest counts beside a stronger one",
      "strongest(usableRecords(records))",
      "usableRecords(records)",
    ],
    [
      "only the first way to an authority is followed",
      "reached.push(issuer);",
      "reached.push(issuer);\n      break;",
    ],
    [
      "an anchor in its record may be no authority",
      "return anchor.ca && isValid",
      "return isValid",
    ],
  ]),
  ...of("secure_transport/tls_decision.ts", "delivery/tls_policy", [
    [
      "a session is shared by domains that its certificate does not name",
      "usable.some(({ usage }) => usage === 2) ? all : []",
      "usable.some(({ usage }) => usage === 7) ? all : []",
    ],
    [
      "a smarthost is taken for a certificate of the recipients' domain",
      "isConfigured ? [host] : [host, domain]",
      "[host, domain]",
    ],
  ]),
  ...of("delivery/session_settings.ts", "delivery/tls_policy", [
    [
      "policies are asked for where TLS is off",
      '(job.route?.security ?? options.security) === "none" ||',
      "",
    ],
  ]),
  ...of("secure_transport/sts_store.ts", "secure_transport/sts_store", [
    [
      "a record that is gone takes the policy away",
      'return kept === undefined ? { status: "none" } : foundIn(kept);',
      'return { status: "none" };',
    ],
    [
      "a policy that has ended holds",
      "if (this.#now() < known.fetchedAt + known.policy.maxAgeMs) return known;",
      "if (known.fetchedAt > 0) return known;",
    ],
  ]),
  ...of("secure_transport/https.ts", "secure_transport/sts_store", [
    [
      "any certificate will do for a policy",
      "if (authorizationError === undefined) return transport;",
      "if (transport !== undefined) return transport;",
    ],
  ]),
  ...of("trust/dmarc.ts", "trust/dmarc", [
    [
      "an SPF pass of HELO counts for DMARC",
      'if (spf?.identity === "mailfrom") await',
      "if (spf !== undefined) await",
    ],
    [
      "a suffix of a name is taken for a domain above it",
      "!domain.endsWith(`.${organization}`)",
      "!domain.endsWith(organization)",
    ],
    [
      "a temporary error that matters is a fail",
      'if (result !== "pass" && result !== "temperror") return;',
      'if (result !== "pass") return;',
    ],
    [
      "an alias without a target does not exist",
      'for (const type of ["A", "CNAME", "MX"] as const) {',
      'for (const type of ["A", "MX"] as const) {',
    ],
    ["strict is relaxed", "if (isStrict) return false;", ""],
  ]),
  ...of("trust/tree_walk.ts", "trust/dmarc", [
    [
      "a walk asks for every name",
      "Math.min(labels.length, LONG_NAME) - 1",
      "labels.length - 1",
    ],
    [
      "of two records one counts",
      "texts.length === 1 ?",
      "texts.length >= 1 ?",
    ],
  ]),
  ...of("trust/author.ts", "trust/author", [
    [
      "the first of two From fields counts",
      "if (from.length > 1)",
      "if (from.length > 2)",
    ],
    [
      "one of two domains in From counts",
      "if (only !== undefined && only !== domain) {",
      "if (only === null) {",
    ],
  ]),
  ...of("trust/authentication_results.ts", "trust/authentication_results", [
    [
      "a quote in a value ends its quotes",
      'text.replace(/["\\\\]/g, "\\\\$&")',
      "text",
    ],
    [
      "a comment hides the name of the server",
      "const bare = withoutComments(one).split",
      "const bare = one.split",
    ],
  ]),
  ...of("trust/rsa_verify.ts", "trust/rsa_verify", [
    [
      "a signature above the modulus counts",
      "if (value >= modulus) return false;",
      "",
    ],
    ["a short RSA key counts", "if (bits < LEAST_RSA_BITS) {", "if (false) {"],
  ]),
  ...of("trust/dkim_key.ts", "trust/dkim_key", [
    [
      "a key for other services is taken for mail",
      'if (!has("s", "*", "email")) return permerror("The key is not for mail");',
      "",
    ],
    [
      "the first of several key records counts",
      'if (records.length > 1) return permerror("There are several key records");',
      "",
    ],
  ]),
  ...of("trust/dkim_signature.ts", "trust/dkim_signature", [
    [
      "an identity of another domain counts",
      "return name === domain || name.endsWith(`.${domain}`);",
      "return name.endsWith(domain);",
    ],
    [
      "an expired signature counts",
      'return Number(to) < now ? "It has expired" : undefined;',
      "return undefined;",
    ],
  ]),
  ...of("trust/dkim_verify.ts", "trust/dkim_verify", [
    [
      "another body counts",
      "if (!isEqual(body.digest, signature.bodyHash)) {",
      "if (false) {",
    ],
  ]),
  ...of("trust/canonical_header.ts", "trust/canonical_header", [
    [
      "a signature covers its own field",
      "new FieldPicker(fields.filter((field) => field !== own))",
      "new FieldPicker(fields)",
    ],
  ]),
  ...of("server/forwarding.ts", "attacks/relaying_by_senders", [
    [
      "a bounce leads through a host that trusts this one",
      "if (hasRoute(original) && !this.#init.isOurs(original)) {",
      "if (false) {",
    ],
    [
      "a route is rewritten, and its bounces are lost",
      "const isRoute = hasRoute(from);",
      "const isRoute = false;",
    ],
    [
      "a DSN about mail that waited goes to an address that has expired",
      "this.#srs?.reverse(sender, acceptedAt)",
      "this.#srs?.reverse(sender)",
    ],
  ]),
  ...of("session/handler_calls.ts", "attacks/relaying_by_senders", [
    [
      "a bounce goes to a mailbox that does not exist",
      "      !isLocal(target, session.localAddress);",
      "      !isLocal(address, session.localAddress) || original !== undefined;",
    ],
  ]),
  ...of("server/forwarding.ts", "server/forwarding", [
    [
      "mail for a host behind this one gets another sender",
      "if (recipients.every(({ address }) => isOurs(address))) return {};",
      "",
    ],
    [
      "a sender of our own is rewritten",
      "from.isNull || this.#init.isOurs(from)",
      "from.isNull",
    ],
    [
      "a sender that the program has chosen is rewritten",
      "const from = hasSender ? undefined : this.#senderFor(message);",
      "const from = this.#senderFor(message);",
    ],
    [
      "anyone may write to a rewritten address",
      "return from.isNull || takesReplies",
      "return takesReplies !== undefined",
    ],
    [
      "an address for bounces holds for ever",
      "if (outcome.fault !== undefined) {",
      'if (outcome.fault === "forged") {',
    ],
  ]),
  ...of("dsn/sender.ts", "server/forwarding", [
    [
      "a DSN about forwarded mail comes back to this server",
      "const to = forwarder?.returnPath(sender, acceptedAt) ?? sender;",
      "const to = sender;",
    ],
  ]),
  ...of("delivery/signing.ts", "server/forwarding", [
    [
      "converted content keeps a seal that does not fit",
      "const own = signed + sealed;",
      "const own = signed;",
    ],
  ]),
  ...of("queue/queue.ts", "server/forwarding", [
    [
      "mail of users is forwarded mail",
      "    if (message.isOwn) {",
      "    if (message.isOwn && signer?.isActive === true) {",
    ],
  ]),
  ...of("trust/arc_seal.ts", "trust/arc_messages", [
    [
      "a seal has the time of the end of its signature",
      "const facts = { ...given, now: given.now ?? Date.now() };",
      "const facts = { ...given, get now() { return Date.now(); } };",
    ],
  ]),
  ...of("trust/srs.ts", "trust/srs", [
    [
      "mail that came back through another forwarder has no way back",
      ": this.reverse(outcome.address, now) ?? outcome;",
      ": outcome;",
    ],
    [
      "what a host with a fast clock has made at midnight is refused",
      "            CYCLE) % CYCLE - 1;",
      "            CYCLE - 1) % CYCLE;",
    ],
    [
      "a forged hash leads somewhere",
      "if (!this.#fits(hash!, signed)) return",
      "if (false) return",
    ],
    [
      "an address is valid for ever",
      "return age > this.#validDays",
      "return false",
    ],
    [
      "the host of another forwarder may be any text",
      "later !== null && restored(`SRS0${later[2]}`, later[1]!)",
      "later !== null",
    ],
  ]),
  ...of("trust/arc_seal.ts", "trust/arc_messages", [
    [
      "a seal covers other bytes than are sent",
      'Buffer.from(field).toString("latin1")',
      "field",
    ],
    [
      "a chain that could not be checked is sealed",
      ' || result === "temperror") return "";',
      ') return "";',
    ],
    [
      "signatures on the way in are not sealed",
      '[...key.headers, "dkim-signature"]',
      "key.headers",
    ],
  ]),
  ...of("session/verification.ts", "server/verify", [
    [
      "mail of logged-in clients is checked",
      'return kind === "smtp" && username === undefined &&',
      'return kind === "smtp" &&',
    ],
    [
      "exempt networks are checked",
      "!this.#exempt.some((network) => network.contains(remoteAddress))",
      "true",
    ],
    [
      "a policy of quarantine refuses",
      'dmarc.result === "fail" && dmarc.policy === "reject" &&',
      'dmarc.result === "fail" &&',
    ],
  ]),
  ...of("trust/message_check.ts", "server/verify", [
    [
      "a forged result stays",
      "if (!fields.some(isForged)) return block;",
      "return block;",
    ],
    [
      "one check uses up the questions of all",
      "    this.dns = dns;\n  }\n\n  /** The result for",
      "    this.dns = new LimitedDns(dns);\n  }\n\n  /** The result for",
    ],
    [
      "a slow name server leaves no time for the policy",
      "const author = authorDomain(this.#fields);",
      'const author = authorDomain(this.#fields);\n    if (spf.result === "temperror") stop.abort(LATE);',
    ],
    [
      "a handler that asks late gets no answer",
      "return signal.aborted ? { dns } : { dns, signal };",
      "return { dns, signal };",
    ],
  ]),
  ...of("trust/spf.ts", "trust/spf_suite", [
    [
      "eleven terms of SPF may ask",
      "const MOST_TERMS = 10;",
      "const MOST_TERMS = 11;",
    ],
    [
      "answers without records are not counted",
      "if (isVoid && ++this.#void > MOST_VOID) {",
      "if (false) {",
    ],
    [
      "any number of mail exchangers is looked at",
      "if (outcome.records.length > MOST_NAMES) {",
      "if (false) {",
    ],
    [
      "the first of several SPF records counts",
      "if (texts.length > 1) {",
      "if (false) {",
    ],
  ]),
  ...of("secure_transport/tls_decision.ts", "secure_transport/tls_decision", [
    [
      "a host whose TLSA records are not known is used",
      'if (dane.status === "failed") {',
      "if (false as boolean) {",
    ],
    [
      "unusable TLSA records ask for nothing",
      'security: stricter(configured, "required"),\n      policy,\n      key: "tlsa",',
      'policy,\n      key: "tlsa",',
    ],
    [
      "a host that the policy does not list is used",
      "if (fault !== undefined) {",
      "if (false) {",
    ],
  ]),
  ...of("secure_transport/tlsa_match.ts", "secure_transport/tlsa_match", [
    [
      "the name of a certificate of usage 2 does not count",
      "return nameFailure(leaf, names) ?? dateFailure(anchors, certificates, now);",
      "return dateFailure(anchors, certificates, now);",
    ],
    [
      "TLSA records of usage 1 count",
      "(usage === 2 || usage === 3) && (selector",
      "(usage >= 1 && usage <= 3) && (selector",
    ],
  ]),
  ...of("secure_transport/sts_policy.ts", "secure_transport/sts_policy", [
    [
      "a pattern fits several labels",
      "return dot > 0 && host.slice(dot) === pattern.slice(1);",
      "return dot > 0 && host.endsWith(pattern.slice(1));",
    ],
    [
      "one of several MTA-STS records counts",
      "if (records.length !== 1) return undefined;",
      "if (records.length === 0) return undefined;",
    ],
  ]),
  ...of("secure_transport/sts_store.ts", "secure_transport/sts_store", [
    [
      "a policy holds for ever",
      "if (this.#now() < known.fetchedAt + known.policy.maxAgeMs) return known;",
      "return known;",
    ],
    [
      "a fetch that was broken off counts as the domain's failure",
      'signal.throwIfAborted();\n    if ("status" in fetched) {',
      'if ("status" in fetched) {',
    ],
    [
      "a policy that cannot be refreshed is logged each time",
      "if (now < (this.#warned.get(domain) ?? -Infinity) + QUIET_MS) return;",
      "",
    ],
  ]),
  ...of("secure_transport/tlsa_match.ts", "secure_transport/tlsa_match", [
    [
      "the platform's text of a subject counts",
      "const common = readCommonName(certificate.raw);",
      "const common = /(?:^|\\n)CN=([^\\n]+)/.exec(certificate.subject)?.[1];",
    ],
  ]),
  ...of("server/contexts.ts", "server/verify", [
    [
      "checks that are off beside enforce are not told",
      "if (verify[check] !== false) continue;",
      "continue;",
    ],
  ]),
  ...of("delivery/service.ts", "delivery/reporting", [
    [
      "reports on TLS count, too",
      "if (!isTlsReport(relay)) this.#reporter?.add(result);",
      "this.#reporter?.add(result);",
    ],
  ]),
  ...of("delivery/reporting.ts", "delivery/reporting", [
    [
      "the failure of a report causes mail",
      'parameters: { notify: ["NEVER"] }',
      "parameters: {}",
    ],
  ]),
  ...of("secure_transport/tls_report.ts", "secure_transport/tls_report", [
    [
      "a day's counts have no end",
      "if (this.#size + size > MOST_SIZE) {",
      "if (false) {",
    ],
  ]),
  ...of("secure_transport/tls_reporter.ts", "secure_transport/tls_report", [
    [
      "a report goes out before its day has ended",
      "if (now < this.#due(day)) continue;",
      "",
    ],
    [
      "a place gets a report again",
      "day.drop(domain);",
      "",
    ],
  ]),
];

/** All of them. */
export const MUTATIONS: readonly Mutation[] = [
  ...STORES,
  ...SPOOL,
  ...QUEUE,
  ...SASL,
  ...LIMITS,
  ...USERS,
  ...DEPLOYMENT,
  ...RECIPIENTS,
  ...PROTOCOL,
  ...TRUST,
];
