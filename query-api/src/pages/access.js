// Sends the form of /setup or /login as JSON and shows what came of it. The link stands behind the #, which no server sees.
"use strict";

const answer = document.getElementById("answer");
const link = new URLSearchParams(location.hash.slice(1)).get("link");
const isFirst = new URLSearchParams(location.hash.slice(1)).has("first");

async function send(path, body) {
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, request);
  const read = await response.json();
  if (response.ok) {
    history.replaceState(null, "", location.pathname);
    answer.textContent = `You are logged in as ${read.actor.replace("person:", "")}, ${read.role}.`;
  } else {
    answer.textContent = read.detail;
  }
}

document.getElementById("login")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  send("/api/v1/auth/login", { name: form.get("name"), password: form.get("password") });
});

const setup = document.getElementById("setup");
if (setup) {
  document.getElementById("first").hidden = !isFirst;
  document.getElementById("naming").hidden = !isFirst;
  if (!link) answer.textContent = "This page needs a whole link, with what stands behind the #.";
  setup.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = { link, password: form.get("password") };
    if (isFirst) body.name = form.get("name");
    send("/api/v1/auth/redeem", body);
  });
}
