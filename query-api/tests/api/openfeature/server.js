// Drives the OpenFeature server SDK: one question a line on standard input, one answer a line on standard output.
//
//     node server.js BASE_URL        {"type": "Boolean", "key": "f", "default": false, "context": {"targetingKey": "u"}}

const { createInterface } = require("node:readline");
const { OpenFeature } = require("@openfeature/server-sdk");
const { OFREPProvider } = require("@openfeature/ofrep-provider");

async function main() {
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: process.argv[2] }));
  const client = OpenFeature.getClient();
  for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line);
    const answer = await client[`get${question.type}Details`](question.key, question.default, question.context);
    console.log(JSON.stringify(answer));
  }
}

main();
