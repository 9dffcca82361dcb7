//! Which worker of a dispatcher a frame is for.

use pushgate_dispatcher::core::worker::{worker_of, worker_of_reference};
use pushgate_protocol::link::ToDispatcher;

use crate::dispatcher::WORKERS;

pub fn worker_for(frame: &ToDispatcher<'_>) -> Option<usize> {
    Some(match *frame {
        ToDispatcher::Acked { reference, .. }
        | ToDispatcher::Written { reference }
        | ToDispatcher::Offline { reference }
        | ToDispatcher::Deferred { reference, .. }
        | ToDispatcher::Expired { reference }
        | ToDispatcher::Dropped { reference }
        | ToDispatcher::Recalled { reference }
        | ToDispatcher::Collapsed { reference }
        | ToDispatcher::Moved { reference, .. } => usize::from(worker_of_reference(reference)),
        ToDispatcher::AckedFor { app, user, .. }
        | ToDispatcher::AckedAll { app, user, .. }
        | ToDispatcher::Receipt { app, user, .. }
        | ToDispatcher::Returned { app, user, .. }
        | ToDispatcher::Online { app, user, .. }
        | ToDispatcher::ReplayMore { app, user, .. }
        | ToDispatcher::Gone { app, user, .. } => worker_of(app, user, WORKERS),
        ToDispatcher::Credit { .. } | ToDispatcher::Pong => return None,
    })
}
