"use strict";

// The wire between a page and its test: JSON over one WebSocket. The page tells `ready` when all of its scripts have run.
// The test sends `{id, command, arguments}`, the page answers with `{event: "result", id, value}` and tells what happens as
// `{event, ...}`. A fault is an `error`, which fails the test.

const commands = {};
const control = new WebSocket(`ws://${location.host}/control`);
const opened = new Promise((resolve) => (control.onopen = resolve));

async function tell(event, fields = {}) {
  await opened;
  control.send(JSON.stringify({ event, ...fields }));
}

function fault(what) {
  tell("error", { what: String(what?.stack ?? what) });
}

control.onmessage = async ({ data }) => {
  const { id, command, arguments: given } = JSON.parse(data);
  try {
    tell("result", { id, value: (await commands[command](given)) ?? null });
  } catch (error) {
    fault(error);
  }
};

window.onload = () => tell("ready");
window.onerror = (message, source, line) => fault(`${message} (${source}:${line})`);
window.onunhandledrejection = ({ reason }) => fault(reason);

function hexadecimal(bytes) {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function sha256(bytes) {
  return hexadecimal(await crypto.subtle.digest("SHA-256", bytes));
}

function random(length) {
  const bytes = new Uint8Array(length);
  // More than this in one call is refused.
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
}
