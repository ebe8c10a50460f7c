// Evaluations per second of published engines, on the flags of `domain/benches/rules.rs` as far as each can say them.
//
//     npm ci --ignore-scripts && node evaluate.js
//
// Prints one line of JSON for each engine and flag: nanoseconds an evaluation, the best of seven rounds.

const { FlagdCore } = require("@openfeature/flagd-core");
const { GrowthBook } = require("@growthbook/growthbook");

const ROUNDS = 7;
const ROUND_NANOSECONDS = 400_000_000n;

const person = {
  targetingKey: "user-4711", id: "user-4711", country: "DE", email: "someone.else@mail.example.org", app_version: "5.12.3",
  device: { os: "ios" }, age: 42, signed_up_at: "2025-06-01T08:30:00Z", ip: "10.20.30.40", groups: ["users", "beta"],
  plan: "team-pro",
};
const ids = Array.from({ length: 10_000 }, (_, number) => `user-${number}`);

// Nine of the ten clauses: networks are unknown to it, and times are compared as texts.
const growthbookTen = {
  id: { $in: ids }, country: { $in: ["DE", "AT", "CH", "NL"] },
  email: { $regex: "^[a-z0-9.]+@(mail|post)\\.example\\.(com|org)$" },
  $or: [{ app_version: { $vgte: "4.2.0", $vlt: "6.0.0" } }, { app_version: { $vgte: "7.1.0", $vlt: "8.0.0" } }],
  "device.os": "ios", age: { $gte: 18, $lte: 65 }, signed_up_at: { $gt: "2024-01-01" },
  groups: { $elemMatch: { $in: ["beta", "staff"] } }, plan: { $regexi: "PRO" },
};
const growthbookFeatures = {
  simple: { defaultValue: true },
  rollout: { defaultValue: false, rules: [{ force: true, coverage: 0.25, hashAttribute: "id" }] },
  "one-rule": { defaultValue: false, rules: [{ condition: { country: "DE" }, force: true }] },
  "ten-clauses": { defaultValue: false, rules: [{ condition: growthbookTen, force: true }] },
};

// Eight of the ten clauses: regular expressions and networks are unknown to it, and times are compared as texts.
const flagdTen = {
  and: [
    { in: [{ var: "targetingKey" }, ids] }, { in: [{ var: "country" }, ["DE", "AT", "CH", "NL"]] },
    { ends_with: [{ var: "email" }, ".example.org"] },
    { or: [{ and: [{ sem_ver: [{ var: "app_version" }, ">=", "4.2.0"] }, { sem_ver: [{ var: "app_version" }, "<", "6.0.0"] }] },
      { sem_ver: [{ var: "app_version" }, "^", "7.1.0"] }] },
    { "==": [{ var: "device.os" }, "ios"] }, { "<=": [18, { var: "age" }, 65] },
    { ">": [{ var: "signed_up_at" }, "2024-01-01"] }, { some: [{ var: "groups" }, { in: [{ var: "" }, ["beta", "staff"]] }] },
    { in: ["pro", { var: "plan" }] },
  ],
};
const flagdFlag = (targeting) => ({ state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off", targeting });
const flagdFlags = {
  simple: { ...flagdFlag(), defaultVariant: "on" },
  rollout: flagdFlag({ fractional: [{ var: "targetingKey" }, ["on", 25], ["off", 75]] }),
  "one-rule": flagdFlag({ if: [{ "==": [{ var: "country" }, "DE"] }, "on", "off"] }),
  "ten-clauses": flagdFlag({ if: [flagdTen, "on", "off"] }),
};

function nanosecondsPerCall(evaluate) {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = process.hrtime.bigint();
    let calls = 0;
    let took;
    do {
      for (let call = 0; call < 100; call += 1) evaluate();
      calls += 100;
      took = process.hrtime.bigint() - start;
    } while (took < ROUND_NANOSECONDS);
    best = Math.min(best, Number(took) / calls);
  }
  return Math.round(best);
}

function measure(engine, version, evaluate) {
  for (const flag of ["simple", "rollout", "one-rule", "ten-clauses"]) {
    if (flag !== "rollout" && evaluate(flag) !== true) throw new Error(`${engine} does not match ${flag}`);
    const nanoseconds = nanosecondsPerCall(() => evaluate(flag));
    console.log(JSON.stringify({ engine, version, flag, nanoseconds }));
  }
}

const versions = require("./package.json").dependencies;

const growthbook = new GrowthBook({ features: growthbookFeatures, attributes: person });
measure("growthbook", versions["@growthbook/growthbook"], (flag) => growthbook.evalFeature(flag).value);

const quiet = { error() {}, warn() {}, info() {}, debug() {} };
const flagd = new FlagdCore(undefined, quiet);
flagd.setConfigurations(JSON.stringify({ flags: flagdFlags }));
measure("flagd-core", versions["@openfeature/flagd-core"],
  (flag) => flagd.resolveBooleanEvaluation(flag, false, person, quiet).value);
