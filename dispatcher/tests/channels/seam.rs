//! What holds of every provider, of whatever kind.

use std::sync::Arc;

use futures_util::FutureExt;
use pushgate_dispatcher::{
    channels::{
        Provider,
        hooks::{Hook, HookHead},
    },
    core::account::{Answer, Parcel},
};
use pushgate_protocol::message::Channel;

/// Attempts that are dropped, each a step further.
pub const DROPPED: usize = 8;

/// It names its channel, can be dropped at any point and takes messages afterwards, believes no stranger, and ends. `sends` says whether
/// anything leaves the process: then nothing does that expired.
pub async fn keeps_to_the_seam(
    provider: Arc<dyn Provider>,
    channel: Channel,
    parcel: impl Fn() -> Parcel,
    sends: bool,
) {
    assert_eq!(provider.kind(), channel);
    for polls in 0..DROPPED {
        let parcel = parcel();
        let mut attempt = provider.deliver(&parcel);
        for _ in 0..polls {
            if (&mut attempt).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let good = parcel();
    let answer = provider.deliver(&good).await;
    assert!(answer.is_taken(), "{answer:?}");
    drop(provider.check());
    let head = HookHead::default();
    assert!(provider.expects(&head).is_err() && provider.hook(&Hook { head, body: "{}".into() }).await.is_err());
    if sends {
        let late = Parcel { expires_ms: 1, ..parcel() };
        assert_eq!(provider.deliver(&late).await, Answer::Late);
        assert!(!late.sending.is_handed_over());
    }
    provider.end().await;
}
