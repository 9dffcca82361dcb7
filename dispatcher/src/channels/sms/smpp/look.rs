//! Whether a message centre lets us in, looked at without sending.

use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    settings::Settings,
    stream::{Outgoing, Unopened, opened, said},
};
use crate::{channels::Checked, core::smpp::window::Fault, limits};

/// Opens a session and ends it, to see whether that is possible.
pub(super) async fn look(settings: &Settings) -> Checked {
    let unfit = |what: String, remedy| Checked::Unfit { what, remedy };
    match timeout(settings.open_for, looked(settings)).await {
        Ok(Ok(())) => Checked::Fit(format!("it lets {} in as a transceiver", settings.system_id)),
        Ok(Err(Unopened { what, remedy })) => unfit(what, remedy),
        Err(_) => unfit(
            format!("no session in {} ms", settings.open_for.as_millis()),
            "look at host and port in url, and whether smpp:// or smpps:// fits the port",
        ),
    }
}

async fn looked(settings: &Settings) -> Result<(), Unopened> {
    let (mut halves, mut window) = opened::<()>(settings, 0).await?;
    let broke = |what: String| Unopened {
        what,
        remedy: "look whether this is a port for SMPP, and whether it knows this machine's address",
    };
    let (mut input, mut outgoing) = (vec![0; limits::SMPP_READ_BYTES], Outgoing::new(settings.write_for));
    loop {
        outgoing.take(|bytes| window.take_out(bytes));
        outgoing.push(&mut halves.writer).await.map_err(|error| broke(said(&error)))?;
        if window.is_bound() {
            window.unbind();
            outgoing.take(|bytes| window.take_out(bytes));
            // It let us in; how it lets us go says nothing.
            let _ = outgoing.push(&mut halves.writer).await;
            return Ok(());
        }
        let bytes = match halves.reader.read(&mut input).await {
            Ok(0) => return Err(broke("it closed the connection".into())),
            Ok(bytes) => bytes,
            Err(error) => return Err(broke(said(&error))),
        };
        window.received(&input[..bytes], 0, |_| {}).map_err(|fault| match fault {
            Fault::Refused(_) => Unopened {
                what: fault.to_string(),
                remedy: "look at the system_id in url, the password and smpp.system_type, and whether it allows one session more",
            },
            fault => broke(fault.to_string()),
        })?;
    }
}
