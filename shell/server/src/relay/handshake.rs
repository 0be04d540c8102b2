//! The handshake of a connection: who the server is, who the client is, and whether it is admitted.

use std::sync::Arc;
use std::time::Duration;

use headsail_derp::frame::{Frame, Header, kind};
use headsail_derp::limits::HANDSHAKE_SECS;
use headsail_derp::sealed::Joining;
use headsail_derp::{Malformed, ServerInfo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Shared;
use super::end::{End, Failure};
use super::socket::Connection;
use crate::system::random;

const STEP: Duration = Duration::from_secs(HANDSHAKE_SECS);
/// Bytes to reserve at a time; the ClientInfo frame of an official client fits into one.
const READ: usize = 512;

/// Greets a client, checks it, and returns its connection, ready to run.
pub(super) async fn run<S>(shared: &Arc<Shared>, mut io: S) -> Result<Connection<S>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(&mut io, &shared.identity.greeting()).await?;
    let mut held = Vec::new();
    let joining = match timeout(STEP, read_client_info(shared, &mut io, &mut held)).await {
        Ok(joining) => joining?,
        Err(_) => return Err(End::Handshake(Failure::Timeout)),
    };
    if !(shared.admission)(joining.key.bytes()) {
        return Err(End::Refused);
    }
    let answer = joining.server_info(&random::bytes(), &ServerInfo::default());
    // It joins first, so that it can already be reached when it gets the answer.
    let mut connection = Connection::join(Arc::clone(shared), io, joining.key, joining.info, held);
    send(connection.io(), &answer).await?;
    Ok(connection)
}

/// Reads until the ClientInfo frame is complete. Bytes after it stay in `held`.
async fn read_client_info<S>(shared: &Shared, io: &mut S, held: &mut Vec<u8>) -> Result<Joining, End>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(header) = Header::read(held)
            && header.kind != kind::CLIENT_INFO
        {
            return Err(End::Handshake(Failure::Malformed));
        }
        let decoded = Frame::decode(held).map_err(|_: Malformed| End::Handshake(Failure::Malformed))?;
        if let Some((Frame::ClientInfo(key, nonce, sealed), len)) = decoded {
            let joining = shared.identity.open_client_info(key, &nonce, sealed);
            held.drain(..len);
            return joining.ok_or(End::Handshake(Failure::Unproven));
        }
        held.reserve(READ);
        if io.read_buf(held).await.map_err(|error| End::Io(error.kind()))? == 0 {
            return Err(End::Eof);
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(io: &mut S, bytes: &[u8]) -> Result<(), End> {
    let write = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    match timeout(STEP, write).await {
        Ok(written) => written.map_err(|error| End::Io(error.kind())),
        Err(_) => Err(End::Handshake(Failure::Timeout)),
    }
}
