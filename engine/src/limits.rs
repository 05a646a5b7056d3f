//! The engine's own numbers, with unit and source. Those of the wire are in `lkstream_proto::limits`.

use std::time::Duration;

/// Unread bytes of one reader.
pub const READER_BUDGET_BYTES: usize = 4 * 1024 * 1024;
/// Unread bytes of one connection.
pub const CONNECTION_BUDGET_BYTES: usize = 32 * 1024 * 1024;
/// Bytes taken in beyond a budget, for packets on their way when the driver is told to stop
/// reading. A stream that would cross this line fails instead.
pub const OVERRUN_BYTES: usize = 1024 * 1024;
/// Charge for each queued packet on top of its bytes: what our own bookkeeping takes.
pub const QUEUED_OVERHEAD_BYTES: usize = 64;
/// Time without a byte taken after which a reader over budget fails.
pub const STALL_LIMIT: Duration = Duration::from_secs(5);
/// Time a leaver's open streams wait for data on its way (ARCHITECTURE.md, "Leaving").
pub const LEAVE_GRACE: Duration = Duration::from_secs(2);
/// Time a participant that left is remembered, for headers that come after the leave message.
pub const DEPARTED_MEMORY: Duration = Duration::from_secs(30);
/// Time without a delivery after which nothing is sent again on a resume: receivers forget the numbers of a publisher after
/// as long (protocol.md §4.5).
pub const REPLAY_AGE: Duration = lkstream_proto::limits::SEQUENCE_MEMORY;
/// Participants that left and are remembered.
pub const DEPARTED: usize = 1024;
/// Incoming streams that wait for their readers, before the channel is left unread.
pub const WAITING_STREAMS: usize = 256;
/// What the headers of those may take, before the channel is left unread.
pub const WAITING_HEADER_BYTES: usize = 4 * 1024 * 1024;
/// What the headers of all incoming streams may take; streams beyond are refused.
pub const HEADER_BYTES: usize = 16 * 1024 * 1024;
/// The same, of one publisher.
pub const HEADER_BYTES_PER_PUBLISHER: usize = 8 * 1024 * 1024;
/// Charge for each attribute and attachment of a header on top of its bytes.
pub const HEADER_PART_BYTES: usize = 96;
/// Charge for each incoming stream on top of its header's bytes.
pub const INCOMING_STREAM_BYTES: usize = 1024;
/// Incoming streams at once; further ones are refused.
pub const INCOMING_STREAMS: usize = 4096;
/// Incoming streams of one publisher at once; further ones are refused. More than may wait for
/// their readers: who opens streams and does not go on with them meets this limit, who sends
/// faster than we read does not.
pub const INCOMING_STREAMS_PER_PUBLISHER: usize = 1024;
/// Bytes of a receipt's reason; longer ones are cut.
pub const RECEIPT_REASON_BYTES: usize = 256;
/// Outgoing streams at once.
pub const OUTGOING_STREAMS: usize = 1024;
/// Attributes of a header or trailer.
pub const ATTRIBUTES: usize = 256;
/// Bytes of a header's or trailer's attributes. Official senders stop at 15 000, the size of a
/// header packet (protocol.md §5.2).
pub const ATTRIBUTE_BYTES: usize = 32 * 1024;
/// Attachments that the header of a text may name. The 15 000 bytes of an official header hold fewer
/// than 400 UUIDs (protocol.md §5.2).
pub const ATTACHMENTS: usize = 1024;
/// Payload bytes of a stream, uncompressed (protocol.md §5.6).
pub const PAYLOAD_BYTES: u64 = 5_000_000_000;
/// Bytes an outgoing stream may queue.
pub const WRITE_WINDOW_BYTES: usize = 256 * 1024;
/// Bytes in the transport's hands without acknowledgement.
pub const UNACKNOWLEDGED_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of the largest piece a reader gets.
pub const PIECE_BYTES: usize = 64_000;
/// Bytes of a trailer's reason that are kept; longer ones are cut.
pub const REASON_BYTES: usize = 1024;
/// Queued packets of our own, receipts so far, that go before all streams.
pub const CONTROL_PACKETS: usize = 1024;
/// Queued events without a stream of their own: user packets, receipts, unclaimed streams.
pub const LOOSE_EVENTS: usize = 1024;
/// Publishers whose last sequence number is remembered, for duplicate detection.
pub const PUBLISHERS_REMEMBERED: usize = 4096;
/// Slots of a key ring (protocol.md §5.8).
pub const KEY_SLOTS: u32 = 16;
/// Salt of key derivations (protocol.md §5.8).
pub const KEY_SALT: &[u8] = b"LKFrameEncryptionKey";
/// Ratchet steps tried beyond the last that worked (protocol.md §5.8, the Rust family's default).
pub const RATCHET_WINDOW: usize = 16;
/// Ratchet steps kept of one secret.
pub const RATCHET_STEPS: usize = 256;
/// Participants with keys of their own.
pub const KEYED_PARTICIPANTS: usize = 4096;
/// Payload bytes from which `Compress::Auto` looks at a payload: below, the cost outweighs what is
/// saved.
pub const COMPRESS_FROM_BYTES: usize = 512;
/// First bytes of a payload that are compressed to see whether the rest is worth it.
pub const SAMPLE_BYTES: usize = 8 * 1024;
/// Level of the deflate encoder: the first that makes less than a fifth of logs, for a quarter of
/// what the usual level 6 costs (docs/benchmarks.md).
pub const DEFLATE_LEVEL: u32 = 2;
/// Payload bytes deflated in one go at most, so that a packet of data that shrinks a thousandfold
/// does not keep the others waiting.
pub const DEFLATE_STEP_BYTES: usize = 1024 * 1024;
/// Streams that are being deflated at once, about 300 kB each; further ones go out uncompressed.
pub const DEFLATERS: usize = 8;
/// Time within which a call is acknowledged (protocol.md §6).
pub const RPC_ROUND_TRIP: Duration = Duration::from_secs(7);
/// Time within which a call is answered, by default (protocol.md §6).
pub const RPC_RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time that a handler is told to have, at least (protocol.md §6).
pub const RPC_HANDLER_TIMEOUT: Duration = Duration::from_secs(1);
/// Time after its sender left in which a reply may still come: signalling overtakes data.
pub const RPC_LEAVE_GRACE: Duration = Duration::from_secs(1);
/// Time without a chunk after which a request or response as a stream fails.
pub const RPC_IDLE: Duration = Duration::from_secs(15);
/// Bytes of an error's message (protocol.md §6).
pub const RPC_ERROR_MESSAGE_BYTES: usize = 256;
/// Bytes of an error's data (protocol.md §6).
pub const RPC_ERROR_DATA_BYTES: usize = 15_360;
/// Bytes of a request or response as a stream, uncompressed.
pub const RPC_STREAM_BYTES: usize = 16 * 1024 * 1024;
/// Calls of ours that are pending at once.
pub const CALLS: usize = 1024;
/// Calls of others that are being read or handled at once.
pub const INVOCATIONS: usize = 256;
/// The same, of one caller.
pub const INVOCATIONS_PER_CALLER: usize = 64;
/// Queued bytes of packets that an application published.
pub const PUBLISHED_BYTES: usize = 1024 * 1024;
/// The same on the lossy channel; then the oldest go.
pub const PUBLISHED_LOSSY_BYTES: usize = 256 * 1024;
/// Bytes that sealing adds to a packet, at most (protocol.md §5.8: vector, tag, framing).
pub const SEALING_BYTES: usize = 64;
/// Bytes of a block that packets are written into: seven full chunks.
pub const SLAB_BYTES: usize = 110_000;
