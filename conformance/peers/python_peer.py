"""One participant on the official Python SDK, driven by arguments.

Every event is one JSON object on a line of standard output, so that a test reads as a transcript.
The peer leaves its room and exits when standard input ends, or on its own when `recv --count` is reached
and nothing holds it (`--hold` waits for standard input also then). It never outlives the process that started it.

    python_peer.py recv  URL --room R --identity I [--count N] [--topic T]... [--progress]
    python_peer.py send  URL --room R --identity I [--wait-for ID]... [--to ID]... KIND:PATH...
    python_peer.py joins URL --room R --count N
    python_peer.py rpc   URL --room R --identity I [--wait-for ID]... [--to ID] [--timeout S] [METHOD:PATH]...
    python_peer.py data  URL --room R --identity I [--wait-for ID]... [--to ID]... [HOW:VALUE]...

KIND is one of send_text, stream_text, send_file, stream_bytes, send_bytes. HOW is reliable or lossy (VALUE is a
path), dtmf (VALUE is a digit) or transcription (VALUE is the text). `rpc` serves echo, repeat, length, sleep, fail and
crash, and makes the calls named, one after the other.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import sys
import time

from livekit import api, rtc

DEADLINE = float(os.environ.get("PEER_DEADLINE", "120"))


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def token(args, identity):
    access = (
        api.AccessToken(args.key, args.secret)
        .with_identity(identity)
        .with_grants(api.VideoGrants(room_join=True, room=args.room))
    )
    if args.kind != "standard":
        access = access.with_kind(args.kind)
    return access.to_jwt()


async def stdin_end():
    """Returns when the parent closed our standard input."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def readable():
        if not os.read(0, 4096) and not done.done():
            done.set_result(None)

    loop.add_reader(0, readable)
    try:
        await done
    finally:
        loop.remove_reader(0)


def usage():
    """CPU seconds of this process so far and the peak of its resident memory in kB."""
    spent = os.times()
    peak = 0
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1])
    return {"cpu_seconds": spent.user + spent.system, "rss_peak_kb": peak}


async def join(args, prepare=lambda room: None):
    room = rtc.Room()
    room.on("disconnected", lambda reason: emit("disconnected", reason=rtc.DisconnectReason.Name(reason)))
    room.on("participant_connected", lambda p: emit("participant", identity=p.identity))
    room.on("participant_disconnected", lambda p: emit("left", identity=p.identity))
    room.on("reconnecting", lambda: emit("reconnecting"))
    room.on("reconnected", lambda: emit("reconnected"))
    prepare(room)
    signed = token(args, args.identity)
    started = time.monotonic()
    options = rtc.RoomOptions(single_peer_connection=False if args.dual else None)
    if args.encrypt:
        keys = rtc.KeyProviderOptions(shared_key=args.encrypt.encode())
        options.encryption = rtc.E2EEOptions(key_provider_options=keys)
    await room.connect(args.url, signed, options)
    emit(
        "joined",
        identity=room.local_participant.identity,
        sid=room.local_participant.sid,
        kind=int(room.local_participant.kind),
        present=sorted(room.remote_participants),
        milliseconds=round((time.monotonic() - started) * 1e3, 1),
    )
    return room


async def wait_for(room, identities):
    """Waits until everybody named is in the room."""
    missing = lambda: [i for i in identities if i not in room.remote_participants]
    arrived = asyncio.Event()
    room.on("participant_connected", lambda _: arrived.set())
    while missing():
        arrived.clear()
        if missing():
            await asyncio.wait_for(arrived.wait(), DEADLINE)


async def recv(args):
    ended = asyncio.Event()
    count = 0
    tasks = set()

    async def read(reader, sender, kind):
        nonlocal count
        digest = hashlib.sha256()
        size = pieces = 0
        first = None
        started = due = time.monotonic()
        emit("opened", kind=kind, sender=sender, id=reader.info.stream_id, topic=reader.info.topic)
        failure = None
        try:
            async for piece in reader:
                data = piece.encode() if isinstance(piece, str) else piece
                first = first or time.monotonic()
                digest.update(data)
                size += len(data)
                pieces += 1
                if args.progress and time.monotonic() >= due:
                    emit("progress", id=reader.info.stream_id, bytes=size)
                    due = time.monotonic() + 0.25
        except rtc.StreamError as error:
            failure = error.description
        fields = dict(
            kind=kind,
            sender=sender,
            id=reader.info.stream_id,
            topic=reader.info.topic,
            declared=reader.info.size,
            mime_type=reader.info.mime_type,
            attributes=dict(reader.info.attributes or {}),
            name=getattr(reader.info, "name", None),
            attachments=list(getattr(reader.info, "attachments", [])),
            bytes=size,
            pieces=pieces,
            sha256=digest.hexdigest(),
            seconds=time.monotonic() - started,
        )
        if failure is None:
            emit("stream", **fields)
        else:
            emit("failed", reason=failure, **fields)
        count += 1
        if args.count and count >= args.count:
            ended.set()

    def handler(kind):
        def start(reader, sender):
            task = asyncio.create_task(read(reader, sender, kind))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        return start

    def prepare(room):
        for topic in args.topic or ["lk.chat", "files", "lk.transcription"]:
            room.register_text_stream_handler(topic, handler("text"))
            room.register_byte_stream_handler(topic, handler("bytes"))

    room = await join(args, prepare)
    closed = asyncio.create_task(stdin_end())
    await asyncio.wait([closed, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
    if args.hold:
        await closed
    emit("leaving", **usage())
    await room.disconnect()


async def write_text(local, options, text, piece):
    writer = await local.stream_text(**options)
    for start in range(0, len(text), piece):
        await writer.write(text[start : start + piece])
    await writer.aclose()
    return writer.info


async def write_bytes(local, options, name, data, piece):
    writer = await local.stream_bytes(name, total_size=len(data), **options)
    for start in range(0, len(data), piece):
        await writer.write(data[start : start + piece])
    await writer.aclose()
    return writer.info


async def send(args):
    room = await join(args)
    await wait_for(room, args.wait_for + args.to)
    local = room.local_participant
    for what in args.what:
        kind, _, path = what.partition(":")
        with open(path, "rb") as file:
            data = file.read()
        is_text = kind in ("send_text", "stream_text")
        options = {"topic": args.topic[0] if args.topic else ("lk.chat" if is_text else "files")}
        if args.to:
            options["destination_identities"] = args.to
        if args.attribute:
            options["attributes"] = dict(a.split("=", 1) for a in args.attribute)
        started = time.monotonic()
        if kind == "send_text":
            info = await local.send_text(data.decode(), **options)
        elif kind == "stream_text":
            if args.speak_for:
                options["sender_identity"] = args.speak_for
            info = await write_text(local, options, data.decode(), args.piece)
        elif kind == "send_file":
            info = await local.send_file(path, **options)
        elif kind == "stream_bytes":
            info = await write_bytes(local, options, os.path.basename(path), data, args.piece)
        elif kind == "send_bytes":
            info = await local.send_bytes(data, name=os.path.basename(path), **options)
        else:
            raise SystemExit(f"unknown kind {kind}")
        emit(
            "sent",
            how=kind,
            id=info.stream_id,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            seconds=time.monotonic() - started,
        )
    emit("idle", **usage())
    await stdin_end()
    emit("leaving", **usage())
    await room.disconnect()


async def joins(args):
    """Joins and leaves the room again and again; the time is the one of `room.connect` alone."""
    for number in range(args.count):
        args.identity = f"joiner-{number}"
        room = await join(args)
        await room.disconnect()


def digest(text):
    data = text.encode() if isinstance(text, str) else text
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


async def rpc(args):
    room = await join(args)
    local = room.local_participant

    def serve(method):
        def register(handler):
            async def handle(call):
                emit(
                    "invoked",
                    method=method,
                    caller=call.caller_identity,
                    response_timeout=call.response_timeout,
                    **digest(call.payload),
                )
                return await handler(call)

            local.register_rpc_method(method, handle)

        return register

    @serve("echo")
    async def echo(call):
        return call.payload

    @serve("repeat")
    async def repeat(call):
        return call.payload * 1000

    @serve("length")
    async def length(call):
        return str(len(call.payload.encode()))

    @serve("sleep")
    async def sleep(call):
        await asyncio.sleep(float(call.payload))
        return "slept"

    @serve("fail")
    async def fail(call):
        raise rtc.RpcError(101, "refused by the handler", call.payload)

    @serve("crash")
    async def crash(call):
        raise ValueError("a crash that a test asked for")

    emit("ready")
    closed = asyncio.create_task(stdin_end())
    await wait_for(room, args.wait_for + args.to)
    for what in args.what:
        method, _, path = what.partition(":")
        with open(path, "rb") as file:
            payload = file.read().decode()
        started = time.monotonic()
        fields = dict(method=method)
        call = asyncio.ensure_future(
            local.perform_rpc(
                destination_identity=args.to[0],
                method=method,
                payload=payload,
                response_timeout=args.timeout,
            )
        )
        await asyncio.wait([call, closed], return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
            break
        try:
            result = call.result()
            emit("result", text=result[:100], seconds=time.monotonic() - started, **digest(result), **fields)
        except rtc.RpcError as error:
            emit(
                "rpc_error",
                code=int(error.code),
                message=error.message,
                data=error.data or "",
                seconds=time.monotonic() - started,
                **fields,
            )
    emit("idle")
    await closed
    emit("leaving", **usage())
    await room.disconnect()


async def data(args):
    def received(packet):
        sender = packet.participant.identity if packet.participant else None
        kind = rtc.DataPacketKind.Name(packet.kind)
        emit("data", sender=sender, kind=kind, topic=packet.topic, **digest(packet.data))

    def dtmf(packet):
        emit("dtmf", sender=packet.participant.identity, code=packet.code, digit=packet.digit)

    def transcription(segments, participant, _):
        emit("transcription", sender=participant and participant.identity, texts=[s.text for s in segments])

    def prepare(room):
        room.on("data_received", received)
        room.on("sip_dtmf_received", dtmf)
        room.on("transcription_received", transcription)

    room = await join(args, prepare)
    await wait_for(room, args.wait_for + args.to)
    local = room.local_participant
    for what in args.what:
        how, _, value = what.partition(":")
        if how in ("reliable", "lossy"):
            with open(value, "rb") as file:
                payload = file.read()
            topic = args.topic[0] if args.topic else ""
            await local.publish_data(
                payload, reliable=how == "reliable", destination_identities=args.to, topic=topic
            )
        elif how == "dtmf":
            await local.publish_dtmf(code=1, digit=value)
        elif how == "transcription":
            segment = rtc.TranscriptionSegment(
                id="SG_1", text=value, start_time=0, end_time=1, final=True, language="en"
            )
            await local.publish_transcription(
                rtc.Transcription(participant_identity=local.identity, track_sid="TR_none", segments=[segment])
            )
        else:
            raise SystemExit(f"unknown way {how}")
        emit("published", how=how)
    emit("idle")
    await stdin_end()
    emit("leaving", **usage())
    await room.disconnect()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["recv", "send", "joins", "rpc", "data"])
    parser.add_argument("url")
    parser.add_argument("what", nargs="*", help="send: KIND:PATH, rpc: METHOD:PATH, data: HOW:VALUE")
    parser.add_argument("--timeout", type=float, help="rpc: seconds to wait for a response")
    parser.add_argument("--room", required=True)
    parser.add_argument("--identity", default="")
    parser.add_argument("--kind", default="standard", help="the token's participant kind")
    parser.add_argument("--key", default="devkey")
    parser.add_argument("--secret", default="secret")
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--hold", action="store_true", help="recv: stay until standard input ends")
    parser.add_argument("--progress", action="store_true", help="recv: tell the bytes of a stream, four times a second")
    parser.add_argument("--dual", action="store_true", help="two peer connections (signalling v0)")
    parser.add_argument("--wait-for", action="append", default=[], metavar="ID")
    parser.add_argument("--to", action="append", default=[], metavar="ID")
    parser.add_argument("--attribute", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--encrypt", metavar="SECRET", help="end-to-end encryption under a shared key")
    parser.add_argument("--speak-for", metavar="ID", help="sender_identity of stream_text")
    parser.add_argument("--piece", type=int, default=20_000, help="characters or bytes a write")
    args = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run({"recv": recv, "send": send, "joins": joins, "rpc": rpc, "data": data}[args.command](args))
    except Exception as error:  # a transcript must end with the cause
        emit("error", error=f"{type(error).__name__}: {error}")
        sys.stdout.flush()
        os._exit(1)
    # The library's threads may call into an interpreter that is being torn down, and abort.
    sys.stdout.flush()
    os._exit(0)


main()
