"use strict";

// One RTCPeerConnection and its data channels, by label.

const connection = new RTCPeerConnection();
const channels = new Map();

// Water marks of a transfer, in bytes; Chromium closes a channel that has 16 MiB waiting.
const LOW = 2 << 20;
const HIGH = 6 << 20;

connection.onconnectionstatechange = () => tell("state", { state: connection.connectionState });
connection.ondatachannel = ({ channel }) => follow(channel);

function follow(channel) {
  const entry = { channel, take: null, waiting: [] };
  channels.set(channel.label, entry);
  channel.binaryType = "arraybuffer";
  channel.onmessage = ({ data }) => (entry.take ? entry.take(data) : entry.waiting.push(data));
  channel.onopen = () => tell("open", describe(channel));
  channel.onclose = () => tell("closed", describe(channel));
}

function describe(channel) {
  const { label, id, ordered, maxRetransmits, maxPacketLifeTime } = channel;
  return { label, id, ordered, maxRetransmits, maxPacketLifeTime };
}

// Gives every message, also those from before, to `take` until it is true.
function receive(label, take) {
  const entry = channels.get(label);
  entry.take = (data) => {
    if (take(data)) entry.take = null;
  };
  while (entry.take && entry.waiting.length > 0) entry.take(entry.waiting.shift());
}

async function gathered() {
  while (connection.iceGatheringState !== "complete") {
    await new Promise((resolve) => connection.addEventListener("icegatheringstatechange", resolve, { once: true }));
  }
  return connection.localDescription.sdp;
}

commands.open = ({ label, ...options }) => follow(connection.createDataChannel(label, options));

commands.offer = async () => {
  await connection.setLocalDescription();
  return gathered();
};

// `setup` makes this side the DTLS client (`active`) or server (`passive`).
commands.answer = async ({ offer, setup }) => {
  await connection.setRemoteDescription({ type: "offer", sdp: offer });
  const { type, sdp } = await connection.createAnswer();
  await connection.setLocalDescription({ type, sdp: setup ? sdp.replace(/a=setup:\w+/g, `a=setup:${setup}`) : sdp });
  return gathered();
};

commands.accept = ({ answer }) => connection.setRemoteDescription({ type: "answer", sdp: answer });

commands.restart = () => {
  connection.restartIce();
  return commands.offer();
};

commands.close_channel = ({ label }) => channels.get(label).channel.close();

commands.close = () => connection.close();

commands.limits = () => ({ maxMessageSize: connection.sctp.maxMessageSize, maxChannels: connection.sctp.maxChannels });

commands.stats = async () => [...(await connection.getStats()).values()];

// Sends one message of each size; gives their digests.
commands.send_messages = async ({ label, sizes, text }) => {
  const { channel } = channels.get(label);
  const digests = [];
  for (const size of sizes) {
    const bytes = random(size);
    // Letters only, so that a text of `size` characters has as many bytes.
    if (text) bytes.forEach((byte, at) => (bytes[at] = 97 + (byte % 26)));
    digests.push(await sha256(bytes));
    channel.send(text ? new TextDecoder().decode(bytes) : bytes);
  }
  return digests;
};

// Whether the channel takes a message of this size; Chromium throws before it sends anything.
commands.refuses = ({ label, size }) => {
  try {
    channels.get(label).channel.send(new Uint8Array(size));
    return null;
  } catch (error) {
    return error.name;
  }
};

// Tells the kind, size and digest of the next messages as `messages`.
commands.collect_messages = ({ label, count }) => {
  const messages = [];
  receive(label, (data) => {
    messages.push(data);
    if (messages.length === count) summarize(label, messages);
    return messages.length >= count;
  });
};

async function summarize(label, messages) {
  const summaries = [];
  for (const data of messages) {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    summaries.push({ kind: typeof data, size: bytes.byteLength, sha256: await sha256(bytes) });
  }
  tell("messages", { label, messages: summaries });
}

// Sends so many random bytes as messages of one size, then tells `sent`. `digest` needs a secure context.
commands.send_bytes = async ({ label, bytes, message, digest }) => {
  const payload = random(digest ? bytes : Math.min(bytes, 16 * message));
  transfer(channels.get(label).channel, payload, bytes, message).then(async (milliseconds) => {
    tell("sent", { label, milliseconds, sha256: digest ? await sha256(payload) : null });
  }, fault);
};

// Repeats the payload until all bytes are given to SCTP and acknowledged, as far as the browser tells.
async function transfer(channel, payload, bytes, message) {
  const began = performance.now();
  channel.bufferedAmountLowThreshold = LOW;
  for (let sent = 0; sent < bytes; ) {
    if (channel.bufferedAmount > HIGH) {
      await new Promise((resolve) => channel.addEventListener("bufferedamountlow", resolve, { once: true }));
    }
    const at = sent % payload.length;
    const piece = payload.subarray(at, at + Math.min(message, bytes - sent));
    channel.send(piece);
    sent += piece.length;
  }
  channel.bufferedAmountLowThreshold = 0;
  if (channel.bufferedAmount > 0) {
    await new Promise((resolve) => channel.addEventListener("bufferedamountlow", resolve, { once: true }));
  }
  return performance.now() - began;
}

// Takes so many bytes, then tells `received`; the time runs from the first message on.
commands.receive_bytes = ({ label, bytes, digest }) => {
  let received = 0;
  let began = null;
  const pieces = [];
  receive(label, (data) => {
    began ??= performance.now();
    received += data.byteLength;
    if (digest) pieces.push(data);
    if (received < bytes) return false;
    conclude(label, received, performance.now() - began, pieces, digest).catch(fault);
    return true;
  });
};

async function conclude(label, bytes, milliseconds, pieces, digest) {
  const whole = digest ? await sha256(await new Blob(pieces).arrayBuffer()) : null;
  tell("received", { label, bytes, milliseconds, sha256: whole });
}
