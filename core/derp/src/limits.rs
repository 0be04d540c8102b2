//! All limits of the relay: their values, the reasons for them, and what happens when one is reached.

/// Maximum length of a packet in bytes, as the protocol defines it. A longer one closes the sender's connection.
pub const MAX_PACKET: usize = 64 * 1024;

/// Maximum length of a ClientInfo payload in bytes. The protocol allows 256 KiB, but real ones have about 200 bytes and
/// anyone can send one. A longer one closes the connection.
pub const MAX_CLIENT_INFO: usize = 16 * 1024;

/// Maximum length of a ServerInfo payload in bytes, as the protocol defines it. [`crate::Frame::decode`] applies it to
/// frames of unknown type too.
pub const MAX_SERVER_INFO: usize = 1024 * 1024;

/// Maximum length of a Ping payload in bytes. Eight are used; the protocol reserves the rest for the future. A longer one
/// closes the connection.
pub const MAX_PING: usize = 1000;

/// Timeout in seconds for each step of a client's handshake, after which its connection is closed.
pub const HANDSHAKE_SECS: u64 = 10;

/// Seconds without progress after which a connection that does not accept more bytes is closed.
pub const WRITE_STALL_SECS: u64 = 3;

/// Seconds between keep-alives on a connection. Clients give up after 120 s of silence.
pub const KEEPALIVE_SECS: i64 = 60;

/// Maximum jitter in milliseconds added to [`KEEPALIVE_SECS`], so that clients that connected at the same time do not stay
/// in step.
pub const KEEPALIVE_JITTER_MS: u32 = 5_000;

/// Bytes read from a socket before they are passed to the relay: enough to make calls rare, few enough to stay in the CPU
/// cache.
pub const READ: usize = 64 * 1024;

/// Size in bytes of the chunks in which queues grow and are handed to the writer. A chunk has room for two reads, so what
/// came in with one read goes out with one write.
pub const CHUNK: usize = 2 * READ;

/// Packets that may be queued for one connection; beyond it, the oldest is dropped. 512 packets hold a full TCP window
/// between two nodes; the 32 of other relays lose most of it.
pub const MAX_DATA_PACKETS: usize = 512;

/// Bytes of packets that may be queued for one connection; beyond it, the oldest packet is dropped.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

/// Disco packets that may be queued for one connection; beyond it, the oldest is dropped. They have a queue of their own
/// so that other traffic never delays the search for a direct path.
pub const MAX_DISCO_PACKETS: usize = 128;

/// Bytes of disco packets that may be queued for one connection. There is room for one packet of any size.
pub const MAX_DISCO_BYTES: usize = 128 * 1024;

/// Bytes of notices (peer gone, keep-alive, health) that may be queued for one connection; beyond it, the oldest is
/// dropped. There is room for some thirteen thousand peers that disconnect at once. A client that misses a notice recovers
/// automatically.
pub const MAX_NOTICE_BYTES: usize = 512 * 1024;

/// Bytes that may be queued for all connections together. Beyond it, each queue that gets a packet is cut down to
/// [`MAX_SCARCE_BYTES`].
pub const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of packets that may be queued for one connection while memory is scarce. There is room for one packet of any
/// size.
pub const MAX_SCARCE_BYTES: usize = 128 * 1024;

/// Empty chunks that are kept for reuse.
pub const MAX_SPARE_CHUNKS: usize = 32;

/// Connections with the same key; one more closes the one that has been silent longest.
pub const MAX_DUPLICATES: usize = 32;

/// Nodes that one connection remembers as senders of its packets: some 60 KiB, about as much as the connection takes
/// anyway. A client is not notified when any other node disconnects, and recovers automatically.
pub const MAX_HEARD_FROM: usize = 1024;

/// "Not here" notices that a connection may get in a burst; after that it gets one per second, and the rest are skipped.
pub const NOT_HERE_BURST: i64 = 3;
