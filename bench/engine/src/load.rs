//! The payloads that are sent.

/// Bytes of one write of a long stream.
pub const BLOCK_BYTES: usize = 240_000;
/// Bytes of a short text.
pub const TEXT_BYTES: usize = 100;

/// Bytes of one chunk (protocol.md §5.2).
pub const CHUNK_BYTES: usize = 15_000;

/// A xorshift sequence (Marsaglia, 2003): the same bytes in every run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[usize::try_from(self.draw() >> 33).unwrap_or_default() % N]
    }
}

/// Bytes that nothing compresses.
pub fn noise(size: usize) -> Vec<u8> {
    let mut random = Random(88_172_645_463_325_252);
    let mut noise = Vec::with_capacity(size + 8);
    while noise.len() < size {
        noise.extend_from_slice(&random.draw().to_le_bytes());
    }
    noise.truncate(size);
    noise
}

/// Lines as of a server's log: few words, many numbers.
pub fn logs(size: usize) -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut logs = Vec::with_capacity(size + 256);
    let mut millis = 0;
    while logs.len() < size {
        millis += random.draw() % 40;
        let second = millis / 1000;
        let line = format!(
            "2026-11-23T{:02}:{:02}:{:02}.{:03}Z {:5} {} participant={} room=room-{:03} sid=PA_{:08x} bytes={} duration_ms={}\n",
            second / 3600 % 24,
            second / 60 % 60,
            second % 60,
            millis % 1000,
            random.pick(["INFO", "INFO", "INFO", "DEBUG", "WARN"]),
            random.pick([
                "participant joined the room",
                "stream opened on topic files",
                "stream closed by its sender",
                "data channel is open",
                "retransmission timer expired, sending again",
                "GET /rtc/v1 HTTP/1.1 200",
            ]),
            random.pick(["alice", "bob", "carol", "dave", "erin", "frank", "agent-7"]),
            random.draw() % 200,
            random.draw() % 4096 * 1_048_583 % (1 << 32),
            random.draw() % 100_000,
            random.draw() % 900,
        );
        logs.extend_from_slice(line.as_bytes());
    }
    logs.truncate(size);
    logs
}
