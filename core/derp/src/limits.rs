//! Every bound of the relay: what it is, why, and what happens there.

/// Bytes of the largest packet, as the protocol has it. A larger one closes its sender's connection.
pub const MAX_PACKET: usize = 64 * 1024;

/// Bytes of the largest ClientInfo frame. The protocol allows 256 KiB and real ones have 200 bytes; as strangers send
/// them, a larger one closes the connection.
pub const MAX_CLIENT_INFO: usize = 16 * 1024;

/// Bytes of the largest ServerInfo frame, as the protocol has it; also what a client accepts of an unknown frame.
pub const MAX_SERVER_INFO: usize = 1024 * 1024;

/// Bytes of the largest Ping. Eight are used; the rest is room for the future. A larger one closes the connection.
pub const MAX_PING: usize = 1000;

/// Seconds that a client has for each step of its handshake; then its connection is closed.
pub const HANDSHAKE_SECS: u64 = 10;

/// Seconds without progress after which a connection that does not take its bytes is closed.
pub const WRITE_STALL_SECS: u64 = 3;

/// Seconds between keep-alives of a connection; clients give up after 120 s of silence.
pub const KEEPALIVE_SECS: i64 = 60;

/// Most milliseconds added to [`KEEPALIVE_SECS`], so that clients that came together do not stay in step.
pub const KEEPALIVE_JITTER_MS: u32 = 5_000;

/// Bytes that one read takes in before they are handed on: enough to make calls rare, few enough to stay in the cache.
pub const READ: usize = 64 * 1024;

/// Bytes in which a queue grows and is handed to the writer. With room for two reads, a read becomes one write.
pub const CHUNK: usize = 2 * READ;

/// Packets that wait for one connection; the oldest goes first. 512 carry a full TCP window between two nodes, where
/// the 32 of other relays lose most of it.
pub const MAX_DATA_PACKETS: usize = 512;

/// Bytes that wait for one connection; the oldest packet goes first.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

/// Disco packets that wait for one connection, apart from the others so that finding a direct path is never delayed
/// by the traffic that wants one; the oldest goes first.
pub const MAX_DISCO_PACKETS: usize = 128;

/// Bytes of disco packets that wait for one connection. Room for one packet of any size.
pub const MAX_DISCO_BYTES: usize = 128 * 1024;

/// Bytes of notices (peer gone, keep-alive, health) that wait for one connection: some thirteen thousand peers that
/// leave at once. The oldest goes first; a client that misses one finds out by itself.
pub const MAX_NOTICE_BYTES: usize = 512 * 1024;

/// Bytes that wait in all queues together. Beyond it each queue is held to [`MAX_SCARCE_BYTES`] as packets come in.
pub const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;

/// Bytes that wait for one connection while memory is scarce. Room for one packet of any size.
pub const MAX_SCARCE_BYTES: usize = 128 * 1024;

/// Empty chunks kept for reuse.
pub const MAX_SPARE_CHUNKS: usize = 32;

/// Connections with one key; one more closes the one that has been silent longest.
pub const MAX_DUPLICATES: usize = 32;

/// Nodes of which one connection remembers that it heard from them: some 60 KiB, about what the connection costs anyway.
/// When any other leaves it is not told, and finds out by itself.
pub const MAX_HEARD_FROM: usize = 1024;

/// "Not here" notices a connection may get at once, and then one per second. More are left out.
pub const NOT_HERE_BURST: i64 = 3;
