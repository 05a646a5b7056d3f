"use strict";

// One participant at a time, with the SDK's options as they come.

const { Room, RoomEvent, RpcError } = LivekitClient;
let room = null;

// Bytes of what a large file repeats: more than a compressor looks back.
const BLOCK = 1 << 20;

// Milliseconds between two reports of progress.
const REPORT = 250;

// Joins with one attempt, so that a failure shows. Texts and files of `topic` are told as `text` and `file`. With `progress`,
// files are not kept: how much has come is told as `progress`.
commands.join = async ({ url, token, topic, progress }) => {
  room = new Room();
  for (const event of [RoomEvent.SignalReconnecting, RoomEvent.Reconnecting, RoomEvent.Reconnected]) {
    room.on(event, () => tell(event));
  }
  room.on(RoomEvent.Disconnected, (reason) => tell("disconnected", { reason }));
  room.on(RoomEvent.ParticipantConnected, ({ identity }) => tell("participant", { identity }));
  room.registerTextStreamHandler(topic, (reader, { identity }) => {
    readText(reader, identity).catch(fault);
  });
  room.registerByteStreamHandler(topic, (reader, { identity }) => {
    (progress ? followFile : readFile)(reader, identity).catch(fault);
  });
  room.registerRpcMethod("echo", async ({ payload }) => payload);
  room.registerRpcMethod("fail", async ({ payload }) => {
    throw new RpcError(101, "refused by the handler", payload);
  });
  const began = performance.now();
  await room.connect(url, token, { maxRetries: 0, autoSubscribe: true });
  for (const identity of room.remoteParticipants.keys()) tell("participant", { identity });
  return { milliseconds: performance.now() - began, sid: room.localParticipant.sid };
};

commands.leave = () => room.disconnect();

commands.send_text = async ({ topic, size }) => {
  // Two bytes a character, so that chunks have to be cut between characters.
  const text = Array.from(random(size), (byte) => String.fromCharCode(0x400 + byte)).join("");
  await room.localParticipant.sendText(text, { topic });
  return { sha256: await sha256(new TextEncoder().encode(text)) };
};

// With `dropAt`, a part of the whole, the signalling drops when so much is sent.
commands.send_file = async ({ topic, size, name, dropAt }) => {
  const bytes = random(size);
  const file = new File([bytes], name, { type: "application/x-noise" });
  const onProgress = (part) => {
    if (!(part >= dropAt)) return;
    dropAt = undefined;
    commands.drop_signalling().catch(fault);
  };
  await room.localParticipant.sendFile(file, { topic, onProgress });
  return { sha256: await sha256(bytes) };
};

// Starts to send a file of so many blocks, all the same one, which takes no more memory than that; its end is told as `sent`.
commands.send_large_file = ({ topic, blocks, name }) => {
  const file = new File(new Array(blocks).fill(new Blob([random(BLOCK)])), name);
  room.localParticipant.sendFile(file, { topic }).then(() => tell("sent", { name }), fault);
};

// The result, or the error that the other side gave.
commands.call = async ({ to, method, payload }) => {
  try {
    return { result: await room.localParticipant.performRpc({ destinationIdentity: to, method, payload }) };
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    return { code: error.code, message: error.message, data: error.data };
  }
};

// Drops the WebSocket as a network would.
commands.drop_signalling = () => room.simulateScenario("signal-reconnect");

// Makes the SDK join anew.
commands.restart = () => room.simulateScenario("full-reconnect");

async function readText(reader, from) {
  const text = new TextEncoder().encode(await reader.readAll());
  tell("text", { from, size: text.length, sha256: await sha256(text) });
}

async function readFile(reader, from) {
  const bytes = await new Blob(await reader.readAll()).arrayBuffer();
  const { name, mimeType, size } = reader.info;
  tell("file", { from, name, mimeType, announced: size, size: bytes.byteLength, sha256: await sha256(bytes) });
}

async function followFile(reader, from) {
  let bytes = 0;
  let due = 0;
  for await (const piece of reader) {
    bytes += piece.byteLength;
    if (performance.now() < due) continue;
    tell("progress", { from, bytes });
    due = performance.now() + REPORT;
  }
  tell("progress", { from, bytes });
}
