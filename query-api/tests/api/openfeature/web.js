// Drives the OpenFeature web SDK, whose context is set once for all flags: one command a line on standard input, one answer
// a line on standard output.
//
//     node --experimental-eventsource web.js BASE_URL
//     {"set_context": {"targetingKey": "u"}}              the statuses of the requests that this took
//     {"type": "Boolean", "key": "f", "default": false}   the details
//     {"await_change": true}                              the keys that changed, when the provider says so

const { createInterface } = require("node:readline");
const { OpenFeature, ProviderEvents } = require("@openfeature/web-sdk");
const { OFREPWebProvider } = require("@openfeature/ofrep-web-provider");

const requests = [];
const changes = [];
let changed = () => {};

async function recordingFetch(...args) {
  const response = await fetch(...args);
  const request = args[0] instanceof Request ? args[0] : new Request(...args);
  requests.push({ status: response.status, conditional: request.headers.has("if-none-match") });
  return response;
}

async function nextChange() {
  while (changes.length === 0) {
    await new Promise((resolve) => (changed = resolve));
  }
  return changes.shift();
}

async function main() {
  const provider = new OFREPWebProvider({
    baseUrl: process.argv[2],
    fetchImplementation: recordingFetch,
    pollInterval: -1,
  });
  OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, (event) => {
    changes.push(event.flagsChanged ?? []);
    changed();
  });
  const client = OpenFeature.getClient();
  let started = false;
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let answer;
    if (command.set_context) {
      requests.length = 0;
      await OpenFeature.setContext(command.set_context);
      if (!started) {
        await OpenFeature.setProviderAndWait(provider);
        started = true;
      }
      answer = [...requests];
    } else if (command.await_change) {
      answer = await nextChange();
    } else {
      answer = client[`get${command.type}Details`](command.key, command.default);
    }
    console.log(JSON.stringify(answer));
  }
  process.exit(0);
}

main();
