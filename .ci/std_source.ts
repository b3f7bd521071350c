// Prints the flag that takes the @std functions from npm, where jsr.io does not
// answer; prints nothing where it does. Used by the tasks in deno.json.
const reachable = await fetch("https://jsr.io/@std/assert/meta.json", {
  signal: AbortSignal.timeout(3000),
}).then(
  async (answer) => (await answer.body?.cancel(), answer.ok),
  () => false,
);
if (!reachable) console.log("--import-map=.ci/std_from_npm.json");
