//! What every `ScheduleStore` does with tasks of which nothing is to be left.

use pushgate_dispatcher::seams::{Added, Found, Phase, Settled, Standing, TaskQuery};

use crate::{
    backend::{Backend, facts},
    schedule_facts::{LONG_AGO, app, claim, id, settlement, task},
};

facts!(of_what_is_gone_nothing_is_left_and_its_name_is_free,);

async fn of_what_is_gone_nothing_is_left_and_its_name_is_free(backend: Backend) {
    let store = backend.schedule();
    store.add(vec![task("a", LONG_AGO), task("b", LONG_AGO)]).await.unwrap();
    let claims = claim(&*store).await;
    let gone = || vec![settlement(&claims[0], Phase::Completed, Standing::Gone)];
    assert_eq!(store.settle(gone()).await.unwrap(), [Settled::Done]);
    assert_eq!(store.settle(gone()).await.unwrap(), [Settled::Lost]);
    let query = |id| TaskQuery { app: app("shop"), after: None, id, limit: 10 };
    let names = |found: Vec<Found>| found.iter().map(|found| found.key().id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(store.tasks(query(None)).await.unwrap()), ["b"]);
    assert!(store.tasks(query(Some(id("a")))).await.unwrap().is_empty());
    assert_eq!(store.add(vec![task("a", LONG_AGO)]).await.unwrap(), [Added::New]);
    assert_eq!(claim(&*store).await.len(), 1, "b is claimed already");
}
